# make demo and make test are each the only command on a fresh machine with Python, make and a C library.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
export RAY_USAGE_STATS_ENABLED := 0

ifeq ($(origin DATABASE),command line)
$(error the process list shows what make is given: export RECITATIVE_DATABASE=postgresql://… instead of DATABASE=…)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-matrix truth paper use-data use-demo share tracking-server test test-slow test-integration lint format search-dashboard

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## make .venv and install everything into it

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name another: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[demo,test]' --constraint constraints.txt
	@touch $@

# What only some targets need: .with-EXTRA,EXTRA
$(VENV)/.with-%: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[demo,test,$*]' --constraint constraints.txt
	@touch $@

demo: setup ## the whole loop on the embedded corpus: data, training, registry, report
	@git rev-parse --git-dir >/dev/null 2>&1 || git init --quiet || dvc config --local core.no_scm true
	@test -d .dvc || dvc init --quiet
	@recitative clean --locks
	@dvc repro
	@recitative summary

demo-matrix: setup ## both architectures on the embedded corpus, and one report of all
	@recitative matrix --name demo-matrix pretrain.arch=scae,cpc

truth: setup ## does it find an effect that is planted, and none that is not? (minutes; ARGS="--seed 2 --small")
	@recitative truth $(ARGS)

paper: setup ## Experiments 1 and 2 of the paper on your corpora: 192 transfer trainings; goes on where it was cut
	@recitative matrix --name paper size=paper pretrain.arch=scae,cpc balance.speech_hours=3,30

use-data: setup ## your own corpora as data/: make use-data DATA=PATH
	@test -n "$(DATA)" || { echo "error: name the folder: make use-data DATA=PATH"; exit 1; }
	@recitative use-data "$(DATA)"

use-demo: setup ## the embedded corpus as data/ again
	@recitative use-demo

share: setup ## data, cache and champions to your group: make share REMOTE=s3://BUCKET/PREFIX
	@test -n "$(REMOTE)" || { echo "error: name the place: make share REMOTE=s3://BUCKET/PREFIX"; exit 1; }
	@recitative remote check "$(REMOTE)"
	@dvc remote add --quiet --force --default share "$(REMOTE)/dvc"
	@test -z "$$AWS_ENDPOINT_URL" || dvc remote modify share endpointurl "$$AWS_ENDPOINT_URL"
	@dvc push --run-cache
	@for model in mer-eng mer-man; do \
	  recitative publish "models:/$$model@champion" "$(REMOTE)/models" || echo "note: $$model has no champion to publish"; done
	@echo "now commit what the others need: git add .dvc/config dvc.lock data.dvc && git commit"

tracking-server: $(VENV)/.with-server ## a group's MLflow on $RECITATIVE_DATABASE: make tracking-server [ARTIFACTS=s3://…] [ARGS="--host …"]
	@test -n "$$RECITATIVE_DATABASE" || { echo "error: name the database: export RECITATIVE_DATABASE=postgresql://…"; exit 1; }
	@place="$(ARTIFACTS)"; test -n "$$place" || place=$$(dvc config remote.share.url 2>/dev/null | sed 's|/dvc$$|/mlflow|'); \
	  test -n "$$place" || { echo "error: name a place for artifacts: ARTIFACTS=s3://BUCKET/PREFIX, or make share first"; exit 1; }; \
	  recitative server start --artifacts "$$place" $(ARGS)

search-dashboard: $(VENV)/.with-dashboard ## optuna-dashboard on the search's study, in the browser
	@optuna-dashboard "$$(recitative search --where)"

.PHONY: bench
bench: $(VENV)/.with-bench ## every speed target beside its peer -> docs/performance.md (an hour; ARGS="--only storage")
	@python -m benchmarks $(ARGS)

test: setup ## the tests
	@python -m pytest -n auto --dist loadfile -m "not slow and not integration" \
	  --cov --cov-report=term:skip-covered --cov-fail-under=85

test-slow: setup ## the slow ones: kill -9 of whole stages, real dvc, calibration of the statistics
	@python -m pytest -m slow

test-integration: $(VENV)/.with-server,ray,dask ## with S3, PostgreSQL, a tracking server, clusters: started and stopped by the tests
	@python -m pytest -m integration tests/integration

lint: setup ## ruff, mypy, the import contract
	@ruff check . && ruff format --check . && mypy && lint-imports

format: setup ## let ruff rewrite what it can
	@ruff check --fix . && ruff format .
