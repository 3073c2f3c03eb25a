"""`recitative pretrain LANGUAGE`: training on speech -> build/pretrain/<language>/."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import click
import torch
from filelock import FileLock
from tqdm import tqdm

from recitative.corpora.certificate import require_clean
from recitative.experiment import labels
from recitative.experiment.parallel import in_parallel, stop_without
from recitative.experiment.places import INDEX, SPLITS
from recitative.experiment.searched import with_best
from recitative.experiment.speech import (
    pretrained_description,
    read_speech,
    require_speech,
    speech_role,
)
from recitative.experiment.work import RESULT, Work, publish_stage
from recitative.files import atomic_folder, write_csv, write_json
from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.pretext import pretext_checks
from recitative.learning.pretraining import Pretraining, prepare
from recitative.learning.ranks import Ranks, launch
from recitative.learning.training import ALONE, Epoch, fit
from recitative.models.storage import save_weights
from recitative.params import Params
from recitative.reports.figures import history_figure
from recitative.seeding import derive_seed
from recitative.tracking.runs import open_run, parent_run_id, reap
from recitative.vocabulary import SPEECH

SHOWN = ("validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Training:
    """One language's pretraining."""

    params: Params  # with the searched values
    language: str
    found: dict[str, str]  # tags that lead to the search
    parent: str | None  # id of the run that groups it
    key: str
    stage: int = field(default_factory=os.getpid)  # process that waits for it

    @property
    def role(self) -> str:
        """What it is trained on."""
        return speech_role(self.params, self.language)

    @property
    def seed(self) -> int:
        """Root of its random streams."""
        return derive_seed(self.params.seed, "pretrain", self.params.section, self.language)

    @property
    def together(self) -> int:
        """Processes that train it; each draws its own noise, so the result depends on it."""
        compute = self.params.compute
        return compute.devices if compute.strategy == "ddp" else 1


def run(params: Params, language: str) -> None:
    """Train on the speech of one language; the chosen epoch's weights are written.

    The languages that are still to come are trained side by side with it (`compute.ahead`).
    """
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    require_speech(params, *SPEECH)
    others = [other for other in SPEECH if other != language]
    publish_stage(params, "pretrain", language, others, partial(_make, params))


def _make(params: Params, works: dict[str, Work]) -> None:
    """Train these languages, each into its work folder."""
    reap()
    searched, found = with_best(params)
    tasks = [
        (Training(searched, language, found, parent_run_id(), work.key), work.folder)
        for language, work in works.items()
    ]
    if params.compute.strategy != "ddp":
        in_parallel(train, tasks, params.compute)
        return
    for task in tasks:  # each has all devices
        train(*task)


def train(training: Training, work: Path) -> None:
    """Train one language in its work folder; what is finished already is left as it is."""
    with FileLock(work / "train.lock"):  # a worker outlives its killed stage by one epoch
        if (work / RESULT).exists():
            return
        if training.together > 1:
            launch(_of_many, training.together, training, work)
        else:
            _train(training, work)


def _of_many(ranks: Ranks, training: Training, work: Path) -> None:
    """One of the processes that train a model together; the first one tracks it and writes it."""
    params = training.params
    torch.set_num_threads(params.compute.threads)
    if not ranks.rank:
        _train(training, work, ranks)
        return
    for _ in _epochs(training, _prepare(training), work, ranks):
        stop_without(training.stage)


def _epochs(training: Training, made: Pretraining, work: Path, ranks: Ranks) -> Iterator[Epoch]:
    compute = training.params.compute
    checkpoint = Checkpoint(work / "checkpoint.safetensors", compute.checkpoint_seconds)
    return fit(
        made.model, made.train, made.validation, made.config, Compute.decide(compute),
        training.seed, checkpoint, ranks,
    )  # fmt: skip


def _prepare(training: Training) -> Pretraining:
    params = training.params
    made = prepare(
        read_speech(training.role, params.features), params.pretrain, params.encoder, params.arch,
        training.seed,
    )  # fmt: skip
    if training.together > 1 and Compute.decide(params.compute).device.type == "cuda":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(made.model)  # type: ignore[no-untyped-call]
        return replace(made, model=model)
    return made


def _train(training: Training, work: Path, ranks: Ranks = ALONE) -> None:
    params, language, role = training.params, training.language, training.role
    compute, arch = Compute.decide(params.compute), params.pretrain.arch
    made = _prepare(training)
    config = made.config
    click.echo(f"{arch} on {role}: {made.train.count} training examples, {compute}")
    cell = labels.labels(params, compute, language, "none", "pretrain", 0)
    history = []
    with (
        open_run(
            f"pretrain {arch} {language}",
            labels.run_params(params, cell, "pretrain", arch, "encoder", "features", "balance"),
            cell | labels.provenance("pretrain", role) | training.found,
            [labels.inputs(role, "training")],
            training.parent,
            work / "run_id",
        ) as tracked,
        atomic_folder(work / RESULT) as folder,
    ):
        epochs = _epochs(training, made, work, ranks)
        for epoch in tqdm(epochs, f"pretrain {arch} {language}", config.epochs, disable=None):
            history.append(epoch.row())
            tracked.log_metrics(epoch.metrics(), step=epoch.index)
            stop_without(training.stage)
        kept = [row for row in history if row["best"] or config.keep == "last"][-1]
        tracked.log_metrics({f"final_{name}": value for name, value in kept.items()})
        save_weights(folder / "model.safetensors", made.model)
        write_json(folder / "model.json", pretrained_description(params) | {"language": language})
        write_csv(folder / "history.csv", list(history[0]), history)
        checks = pretext_checks(made, params.features.segment_hop, training.seed)
        write_json(folder / "pretext.json", checks)
        tracked.log_metrics({f"pretext_{name}": value for name, value in checks.items()})
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in checks.items())
        click.echo(f"{arch} {language}, its task: {said}")
        # Few, because each is a column of `dvc exp show`, once a language; history.csv has the rest.
        shown = {name: kept[name] for name in SHOWN if kept.get(name) is not None}
        write_json(folder / "metrics.json", shown | {"epochs": len(history)})
        write_json(folder / "run.json", {"run_id": tracked.id, "key": training.key})
        tracked.log_figure(history_figure(history), "history.png")
        for name in ("history.csv", "model.json"):
            tracked.log_artifact(folder / name)
