"""Whole projects in a temporary folder, with everything tiny, and the ways to run their stages."""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

import trees
from recitative.cli import cli
from recitative.tracking.store import client
from recitative.vocabulary import PAIRINGS

ROOT = Path(__file__).parents[2]
SPEECH = ("eng", "man", "mix")
MUSIC = ("eng", "man")
TRAINED = [
    *(("pretrain", language) for language in SPEECH),
    *(("transfer", pairing) for pairing in PAIRINGS),
    *(("controls", music) for music in MUSIC),
]
FOREIGN = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")
TINY: dict[str, Any] = {
    "split.scheme": "holdout",
    "search.trials": 0,
    "search.epochs": 1,
    "demo.speech_minutes": 1.2,
    "demo.speakers": 6,
    "demo.music_clips": 40,
    "demo.artists": 20,
    "demo.clip_seconds": 3,
    "demo.raters": 2,
    "demo.emotion_clips": 4,
    "balance.speech_hours": None,
    "balance.music_hours": None,
    "encoder.filters": [4, 4, 8],
    "cpc.projection": 8,
    "cpc.context": 8,
    "pretrain.epochs": 2,
    "pretrain.batch_size": 16,
    "transfer.repeats": 2,
    "transfer.classifier.trunk": [16],
    "transfer.classifier.block": [8],
    "transfer.frozen.epochs": 2,
    "transfer.frozen.batch_size": 16,
    "transfer.finetune.epochs": 1,
    "transfer.finetune.batch_size": 16,
    "controls.scratch_epochs": 1,
    "agreement.draws": 100,
    "evaluate.draws": 100,
    "registry.draws": 100,
    "compute.device": "cpu",
    "compute.precision": "float32",
    "compute.workers": 1,
    "compute.checkpoint_seconds": 0,
}

# Processes to kill are forked from one that has imported what takes long, and nothing else.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["projects", "recitative.stages.transfer", "recitative.tracking.pyfunc_model"]
)


@dataclass(frozen=True)
class Project:
    """A project's folder."""

    root: Path

    def set(self, **changes: Any) -> "Project":
        """Change values of params.yaml, by dotted name."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            *sections, leaf = name.split(".")
            holder = values
            for section in sections:
                holder = holder[section]
            holder[leaf] = value
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), "utf-8")
        return self

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """This process works in the project, and its MLflow store is the project's."""
        before = dict(os.environ)
        for name in FOREIGN:
            os.environ.pop(name, None)
        os.environ.update(self.environment())
        client.cache_clear()
        _artifact_repos_cache.clear()  # by run id, which copies of a project share
        try:
            with contextlib.chdir(self.root):
                yield
        finally:
            client.cache_clear()
            os.environ.clear()
            os.environ.update(before)

    def invoke(self, *arguments: str) -> Result:
        """Run a command in this process, whatever comes of it."""
        with self.here():
            return CliRunner().invoke(cli, arguments)

    def run(self, *arguments: str) -> str:
        """Run a command in this process, which must go well; what it printed."""
        result = self.invoke(*arguments)
        if result.exception:
            raise AssertionError(f"{arguments}: {result.output}") from result.exception
        return result.output

    def train(self) -> "Project":
        """Every pretraining, transfer and control."""
        for stage in TRAINED:
            self.run(*stage)
        return self

    def environment(self) -> dict[str, str]:
        """Of a process that works here."""
        environment = {name: text for name, text in os.environ.items() if name not in FOREIGN}
        binaries = str(Path(sys.executable).parent)
        return environment | {
            "PATH": f"{binaries}{os.pathsep}{environment.get('PATH', '')}",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def shell(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
        return done

    def kill(self, function: str, when: str, count: int, *stage: str) -> None:
        """Run a stage in a process that is killed (-9) at its nth call of a function.

        Args:
            function: ``module:Class:name`` or ``module::name``, as the stage looks it up.
            when: `before` or `after` that call.
            count: n, from 1.
            stage: the command.
        """
        process = PROCESSES.Process(target=_die, args=(self, function, when, count, stage))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"{stage} was not killed: {process.exitcode}"

    def copy(self, target: Path) -> "Project":
        """A copy to change, with a store of its own; what is published already is not kept."""
        shutil.copytree(self.root, target, symlinks=True)
        for marker in (target / ".recitative" / "work").glob("*/published"):
            shutil.rmtree(marker.parent)
        return Project(target)

    def runs(self, where: str = "") -> list[Any]:
        """Runs in the project's store, newest first."""
        from recitative.tracking.store import experiment_id

        with self.here():
            return list(client().search_runs([experiment_id()], where, max_results=5000))


def _die(project: Project, function: str, when: str, count: int, stage: tuple[str, ...]) -> None:
    module, owner, name = function.split(":")
    holder = import_module(module)
    holder = getattr(holder, owner) if owner else holder
    original, calls = getattr(holder, name), itertools.count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        now = next(calls) == count
        if now and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, deadly)
    with project.here():
        cli.main(stage, standalone_mode=False)


def make_project(root: Path, tracked: bool = False) -> Project:
    """What a clone has: parameters, pipeline, data.dvc; with git and DVC where `tracked`."""
    root.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", "data.dvc", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, root / name)
    project = Project(root).set(**TINY)
    text = [
        line
        for line in (root / "data.dvc").read_text("utf-8").splitlines(keepends=True)
        if not line.lstrip("- ").startswith(("md5", "size", "nfiles", "hash"))
    ]
    (root / "data.dvc").write_text("".join(text), "utf-8")
    if tracked:
        shutil.copytree(
            ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
        (root / ".dvc").mkdir()
        for name in ("config", ".gitignore"):
            shutil.copyfile(ROOT / ".dvc" / name, root / ".dvc" / name)
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "clone")):
            project.shell("git", *command)
    return project


def grown_project(folder: Path, *stages: str) -> Project:
    """A tiny project on grown corpora, after those stages."""
    project = make_project(folder / "project")
    grow(folder / "data")
    (project.root / "data").symlink_to(folder / "data")
    for stage in stages:
        project.run(stage)
    return project


def grow(data: Path) -> None:
    """Corpora as `trees` makes them, long enough to train on."""
    trees.librispeech(data, seconds=5)
    trees.aishell(data, seconds=5)
    trees.emotion_4q(data, seconds=2)
    trees.ch818(data, seconds=2)
