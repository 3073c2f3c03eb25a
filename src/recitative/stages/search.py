"""`recitative search`: Bayesian search of the pretraining's parameters -> build/search/.

Reads the training and validation parts of `search.language` alone; the certificate's number is a tag.
The study lives in the original repository's .recitative/search/, so that it survives a killed `dvc exp
run --temp`; the output study.log is a copy that travels with `dvc push` (docs/search.md).
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from filelock import FileLock

from recitative.experiment import labels as identity
from recitative.experiment import searched
from recitative.experiment.parallel import in_parallel, stop_without
from recitative.experiment.places import SEARCH
from recitative.experiment.speech import read_speech, require_speech, speech_role
from recitative.experiment.work import digest, what_counts, working
from recitative.files import atomic_path, read_json, write_csv, write_json
from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.pretraining import criterion_of, prepare
from recitative.learning.search import generations, study
from recitative.learning.search.generations import Outcome, Verdict
from recitative.learning.search.study import Plan, Study, Trial
from recitative.learning.training import Diverged, Epoch, fit
from recitative.params import Params
from recitative.reports.search_page import write_search_page
from recitative.seeding import derive_rng, derive_seed
from recitative.tracking.runs import Run, elsewhere, open_run, parent_run_id, reap
from recitative.tracking.store import project_root

TRIALS, COPY = SEARCH / "trials.csv", SEARCH / "study.log"


def run(params: Params, where: bool = False) -> None:
    """Search until the study holds `search.trials` finished trials; write the best and all of them.

    With `where`, only print the study's journal.
    """
    if not params.search.trials:
        click.echo("search.trials is 0: no search, params.yaml's values hold")
        searched.write_best({})
        write_csv(TRIALS, ["trial", "state", "value"], [])
        write_json(searched.RUNS, {})
        write_search_page(searched.PAGE, "No search", {"search.trials": 0}, {})
        COPY.touch()
        return
    role = speech_role(params, params.search.language)
    require_speech(params, params.search.language)
    # The control with shuffled labels takes the values that are best for the true ones.
    same = params.pretrain.model_copy(update={"arch": params.section})
    params = params.model_copy(update={"pretrain": same})
    # What `dvc.yaml` lists for the stage makes trials comparable, but for how many there are.
    arch, config, listed = params.pretrain.arch, params.search, what_counts(params, "search")
    del listed["params"]["search.trials"]
    key = digest({**listed, "device": str(Compute.decide(params.compute))})
    name, maximize = (
        f"{arch}-{role}-{config.study}-{key[:8]}",
        criterion_of(arch).maximize,
    )
    plan = Plan(name, searched.space_of(params), maximize, params.seed, config)
    folder = project_root() / ".recitative" / "search"
    journal = folder / f"{plan.name}-{plan.config.trials}.log"
    if where:
        click.echo(journal)
        return
    torch.set_num_threads(params.compute.threads)
    with working(params, "search") as work:
        assert work is not None  # it waited
        begun = study.open_study(journal, plan, [COPY, *sorted(folder.glob(f"{plan.name}-*.log"))])
        reap()
        there = study.finished(begun)
        click.echo(f"study {plan.name}: {there} of {plan.config.trials} trials are there")
        mine = work.folder / "run_id"  # there until the study's run has ended
        if there == plan.config.trials and not mine.exists():
            _write(params, plan, begun, work.key)
        else:
            known = begun.user_attrs.get("run_id")
            with _open_run(params, plan, "all", parent_run_id(), mine, known) as tracked:
                begun.set_user_attr("run_id", tracked.id)
                trainings = Trainings(params, plan, work.folder, tracked.id)
                generations.run(begun, plan, trainings, trainings.judged)
                found = _write(params, plan, begun, work.key)
                tracked.log_metrics({"best_value": found["value"], "best_trial": found["trial"]})
                for path in (searched.BEST, TRIALS, searched.PAGE):
                    tracked.log_artifact(path)
        with atomic_path(COPY) as temporary:
            shutil.copyfile(journal, temporary)
        for trained in work.folder.glob("trial-*"):
            shutil.rmtree(trained)


def _open_run(
    params: Params,
    plan: Plan,
    trial: int | str,
    parent: str | None,
    resume: Path,
    known: str | None,
) -> AbstractContextManager[Run]:
    """A trial's run, or the study's (`all`); where there is a `known` one, it goes on."""
    role, arch = speech_role(params, params.search.language), params.pretrain.arch
    cell = identity.labels(params, Compute.decide(params.compute), "none", "none", "search", trial)
    cell["speech_language"] = params.search.language
    given = identity.run_params(params, cell, "pretrain", arch, "encoder", "features", "search")
    tags = {"search_study": plan.name, "search_objective": criterion_of(arch).name}
    tags |= cell | identity.provenance("search", role) | {"search_trial": trial}
    if known:
        resume.write_text(known)
    name, data = f"search {plan.name}, trial {trial}", [identity.inputs(role, "training")]
    return open_run(name, given, tags, data, parent, resume, measure=False)


@dataclass(frozen=True)
class Trainings:
    """The trainings of a study's trials: each in a folder of the work folder, rung by rung."""

    params: Params
    plan: Plan
    work: Path
    run_id: str  # of the study
    stage: int = field(default_factory=os.getpid)  # process that waits for them

    def __call__(self, trials: Sequence[Trial], until: int) -> list[Outcome]:
        """Train them side by side."""
        return in_parallel(self.train, [(trial, until) for trial in trials], self.params.compute)

    def train(self, trial: Trial, until: int) -> Outcome:
        """Train one up to an epoch, from where it stopped before; what is done is left as it is."""
        folder = self.work / f"trial-{trial.number}"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):  # a worker outlives its killed stage by one epoch
            known = folder / "outcome.json"
            outcome = Outcome(**read_json(known)) if known.exists() else Outcome()
            if not outcome.error and len(outcome.objectives) < until:
                self._go_on(trial, until, folder, outcome)
            return outcome

    def _go_on(self, trial: Trial, until: int, folder: Path, outcome: Outcome) -> None:
        params = searched.with_values(self.params, trial.params)
        fixed = {"epochs": params.search.epochs, "patience": 0, "keep": "last"}
        pretrain = params.pretrain.model_copy(update=fixed)
        params = params.model_copy(update={"pretrain": pretrain})
        criterion, mine = criterion_of(pretrain.arch), (self.run_id, folder / "run_id")
        known = outcome.notes.get("run_id")  # from the rung before
        with _open_run(params, self.plan, trial.number, *mine, known) as tracked:
            outcome.notes["run_id"] = tracked.id
            try:
                for epochs in islice(zip(*_fits(params, folder), strict=True), until):
                    if (index := epochs[0].index) < len(outcome.losses):
                        continue
                    every = [epoch.metrics() for epoch in epochs]
                    means = {k: sum(one[k] for one in every) / len(every) for k in every[0]}
                    value = means[f"validation_{criterion.metric}"] - criterion.prior
                    outcome.objectives.append(value)
                    outcome.losses.append(means["validation_loss"])
                    tracked.log_metrics(means | {"objective": value}, step=index)
                    write_json(folder / "outcome.json", asdict(outcome))
                    stop_without(self.stage)
                    if outcome.fault:
                        break
            except Diverged as error:
                outcome.error = str(error)
                write_json(folder / "outcome.json", asdict(outcome))

    def judged(self, trial: Trial, verdict: Verdict) -> None:
        """Say what came of a trial, in its run, too."""
        state, values = verdict.state, searched.shown(trial.params)
        click.echo(f"trial {trial.number}: {state} ({values}) {verdict.reason}".rstrip())
        tracked = Run(verdict.outcome.notes["run_id"])
        if not elsewhere([tracked.id]):  # the store may have been removed since a kill
            tracked.set_tags({"search_state": state, "search_reason": verdict.reason})
            if state == "fail":
                tracked.end("FAILED")
        for weights in (self.work / f"trial-{trial.number}").glob("*.safetensors"):
            weights.unlink()


def _fits(params: Params, folder: Path) -> list[Iterator[Epoch]]:
    """The `search.seeds` trainings of a trial, to go in step; each has a checkpoint."""
    config, arch = params.search, params.pretrain.arch
    role = speech_role(params, config.language)
    speech, compute, fits = read_speech(role, params.features), Compute.decide(params.compute), []
    for index in range(config.seeds):
        seed = derive_seed(params.seed, "search", arch, role, index)
        examples = config.max_segments, derive_rng(params.seed, "search", role, "examples")
        made = prepare(speech, params.pretrain, params.encoder, params.arch, seed, *examples)
        parts = made.train, made.validation
        checkpoint = Checkpoint(folder / f"{index}.safetensors")
        fits.append(fit(made.model, *parts, made.config, compute, seed, checkpoint))
    return fits


def _write(params: Params, plan: Plan, begun: Study, key: str) -> dict[str, Any]:
    """Write the stage's outputs from the study; give the best trial's row."""
    rows, arch, config = study.table(begun, plan), params.pretrain.arch, params.search
    role = speech_role(params, config.language)
    complete = [row for row in rows if row["state"] == "complete"]
    found = min(complete, key=lambda row: (plan.sign * row["value"], row["trial"]))
    values, criterion = {name: found[name] for name in plan.space}, criterion_of(arch)
    states = Counter(row["state"] for row in rows).items()
    facts = {
        "study": plan.name,
        "best value": f"{found['value']:.6g} ({criterion.name}), trial {found['trial']}",
        "its values": searched.shown(values),
        "trials": ", ".join(f"{count} {state}" for state, count in states),
        "sampler, pruner": f"{config.sampler}, {config.pruner}",
    }
    drawn = study.figures(begun, plan, criterion.name)
    write_search_page(searched.PAGE, f"Search of {arch} on {role}", facts, drawn)
    write_csv(TRIALS, list(rows[0]), rows)
    runs = {t.number: t.user_attrs["run_id"] for t in begun.trials if "run_id" in t.user_attrs}
    write_json(searched.RUNS, {"run_id": begun.user_attrs["run_id"], "trials": runs, "key": key})
    best = {"arch": arch, "study": plan.name, "trial": found["trial"]}
    searched.write_best(
        best | {"objective": criterion.name, "value": found["value"], "values": values}
    )
    click.echo(f"best: {searched.shown(values)}: {facts['best value']}")
    return found
