"""The cells of a stage side by side: a process for each repeat, a run in MLflow for each mode of it.

What a repeat has finished lies in the work folder, a small JSON written last, so that a killed stage
trains nothing twice. `write_cells` makes the stage's output of it: predictions.csv, metrics.json,
run.json and the weights.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from recitative.evaluation.metrics import TASKS, decide, score, to_song_level
from recitative.experiment import labels
from recitative.experiment.cell import Cell, scores, train_cell, write_predictions
from recitative.experiment.music import load_music, load_opinions
from recitative.experiment.parallel import in_parallel, stop_without
from recitative.files import atomic_folder, read_json, sha256, write_json
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES, TransferConfig
from recitative.learning.training import Epoch
from recitative.models.storage import Description, weights_path
from recitative.params import Params
from recitative.reports.figures import confusion_figure, history_figure
from recitative.seeding import derive_seed
from recitative.tracking.runs import Run, open_run, parent_run_id
from recitative.vocabulary import QUADRANTS


@dataclass(frozen=True)
class Repeat:
    """One process's work: `modes` in order, for one repeat, over every fold."""

    params: Params
    transfer: TransferConfig  # of the present modes: a control from scratch has epochs of its own
    description: Description  # of the classifier, its encoder included
    speech: str  # language of the pretraining; `none` for controls
    music: str  # language
    modes: tuple[str, ...]  # names in TRANSFER_MODES; a mode `after` another follows it
    repeat: int
    encoder: Path | None  # weights of the pretrained model; None draws a random one
    codes: Path | None  # frozen, of all segments; None where each repeat has its own encoder
    work: Path  # where finished parts and checkpoints are kept
    parent: str  # id of the run that groups the cell's
    stage: int = field(default_factory=os.getpid)  # once it is killed, no further mode is begun

    @property
    def stage_name(self) -> str:
        """The stage that its runs belong to."""
        return "controls" if self.speech == "none" else "transfer"

    def cell(self, mode: str, fold: int) -> Cell:
        """What one of its cells is made of."""
        params = self.params
        stream = (self.stage_name, params.pretrain.arch, f"{self.speech}2{self.music}")
        after = TRANSFER_MODES[mode].after
        return Cell(
            mode, self.repeat, fold,
            derive_seed(params.seed, *stream, mode, self.repeat, fold),
            self.description, self.transfer,
            params.encoder.standardize == "band",
            self.encoder, self.cell(after, fold).path if after else None, self.codes,
            self.work / f"{mode}-{self.repeat}-{fold}",
            params.compute.checkpoint_seconds,
        )  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """A control that is no network: its predictions and its run."""

    mode: str
    repeat: int
    run_id: str
    predictions: pd.DataFrame  # of the test part of all folds


@dataclass(frozen=True)
class Finished(Baseline):
    """What one mode of one repeat left in the work folder, one entry a fold in each list."""

    folds: list[dict[str, Any]]  # validation scores, epochs
    weights: list[Path]


def run_repeats(repeats: Sequence[Repeat]) -> list[list[Finished]]:
    """Train the modes of every repeat, side by side; what is finished already is only read."""
    to_do = [(one,) for one in repeats if not all(is_done(_done(one, mode)) for mode in one.modes)]
    if to_do:
        in_parallel(run_repeat, to_do, repeats[0].params.compute)
    return [[_finished(one, mode) for mode in one.modes] for one in repeats]


def run_repeat(repeat: Repeat) -> None:
    """Train the modes of one repeat, in order."""
    for mode in repeat.modes:
        stop_without(repeat.stage)
        # The lock: a worker outlives its killed stage by the mode that it is at.
        with FileLock(_done(repeat, mode).with_suffix(".lock")):
            if not is_done(_done(repeat, mode)):
                _train_mode(repeat, mode)


def _done(repeat: Repeat, mode: str) -> Path:
    return repeat.work / f"{mode}-{repeat.repeat}.json"


def is_done(done: Path) -> bool:
    """Killed between its results and its end, a run is gone through again, training nothing."""
    return done.exists() and not done.with_suffix(".run_id").exists()


def _finished(repeat: Repeat, mode: str) -> Finished:
    found = read_json(_done(repeat, mode))
    run_id, folds = found["run_id"], found["folds"]
    weights = [repeat.cell(mode, fold).weights for fold in range(len(folds))]
    table = _predictions(repeat, mode, len(folds))
    return Finished(mode, repeat.repeat, run_id, table, folds, weights)


def _predictions(repeat: Repeat, mode: str, folds: int) -> pd.DataFrame:
    paths = [repeat.cell(mode, fold).predictions for fold in range(folds)]
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def _train_mode(repeat: Repeat, mode: str) -> None:
    """Train one mode in every fold, in one run."""
    params, role, done = repeat.params, f"music-{repeat.music}", _done(repeat, mode)
    compute = Compute.decide(params.compute)
    cell = labels.labels(params, compute, repeat.speech, repeat.music, mode, repeat.repeat)
    music, folds = load_music(params, repeat.music)
    opinions = load_opinions(repeat.music)
    with open_run(
        f"{cell['pairing']} {params.pretrain.arch} {mode} {repeat.repeat}",
        labels.run_params(params, cell, "transfer", "encoder", "features", "balance", "split"),
        cell | labels.provenance(repeat.stage_name, role),
        [labels.inputs(role, "training, evaluation")],
        repeat.parent,
        done.with_suffix(".run_id"),
    ) as tracked:
        results, histories = [], []
        for fold, parts in enumerate(folds):
            log = partial(_log_epoch, tracked, f"fold{fold}_" if len(folds) > 1 else "")
            result = train_cell(repeat.cell(mode, fold), music, parts, opinions, compute, log)
            histories.append(result.pop("history"))
            results.append(result | {"epochs": len(histories[-1])})
        table = _predictions(repeat, mode, len(folds))
        validation = _mean([fold["validation"] for fold in results])
        tracked.log_metrics({f"test_{name}": value for name, value in scores(table).items()})
        tracked.log_metrics({f"best_validation_{name}": v for name, v in validation.items()})
        tracked.log_metrics({"dropped_clips": sum(fold["dropped_clips"] for fold in results)})
        tracked.log_figure(history_figure(*histories), "history.png")
        log_predictions(tracked, table)
        write_json(done, {"run_id": tracked.id, "folds": results})


def _log_epoch(tracked: Run, prefix: str, epoch: Epoch) -> None:
    metrics = {f"{prefix}{name}": value for name, value in epoch.metrics().items()}
    tracked.log_metrics(metrics, step=epoch.index)


def log_predictions(tracked: Run, predictions: pd.DataFrame) -> None:
    """Store a repeat's test predictions, and the song-level confusion matrix of every task."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        write_predictions(path, predictions)
        tracked.log_artifact(path)
    songs = to_song_level(predictions)
    for task in TASKS:
        scored = score(*decide(songs, task), task)
        tracked.log_figure(confusion_figure(scored, task), f"confusion_{task}.png")


def parent_run(params: Params, stage: str, pairing: str, work: Path) -> AbstractContextManager[Run]:
    """The run that groups those of a pairing, or of a music set's controls (``none2eng``)."""
    speech, music = pairing.split("2")
    compute = Compute.decide(params.compute)
    cell = labels.labels(params, compute, speech, music, "parent", "all")
    return open_run(
        f"{stage} {pairing} {params.pretrain.arch}",
        cell,
        cell | labels.provenance(stage, f"music-{music}"),
        parent=parent_run_id(),
        resume=work / "run_id",
        measure=False,
    )


def write_cells(
    out: Path, params: Params, description: Description, music: str, finished: Sequence[Finished],
    parent: Run, baselines: Sequence[Baseline] = (), *, key: str,
    missing: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write the folder `out` whole; `missing` says which controls are left out, and why.

    `key` names all that the result depends on: whoever works ahead knows by it what is up to date.
    """
    metrics: dict[str, Any] = {}
    runs: dict[str, Any] = {"key": key, "parent": parent.id}
    cells = [*finished, *baselines]
    for done in cells:
        entry = {"test": scores(done.predictions)}
        if isinstance(done, Finished):
            entry["validation"] = _mean([fold["validation"] for fold in done.folds])
        metrics.setdefault(done.mode, {})[str(done.repeat)] = entry
        runs.setdefault(done.mode, {})[str(done.repeat)] = done.run_id
    with atomic_folder(out) as folder:
        predictions = pd.concat([done.predictions for done in cells])
        write_predictions(folder / "predictions.csv", predictions)
        for mode in dict.fromkeys(f.mode for f in finished):
            of_mode = [f for f in finished if f.mode == mode]
            _write_weights(folder, params, description, music, of_mode)
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "run.json", runs)
        if missing is not None:
            write_json(folder / "missing.json", missing)


def summary_lines(out: Path) -> list[str]:
    """A line a mode for the screen."""
    return [
        f"{mode}: quadrant macro F, songs: "
        + ", ".join(f"{entry['test']['quadrant_f1']:.3f}" for entry in repeats.values())
        for mode, repeats in read_json(out / "metrics.json").items()
    ]


def _mean(scores_of_folds: list[dict[str, float]]) -> dict[str, float]:
    return {str(k): float(v) for k, v in pd.DataFrame(scores_of_folds).mean().items()}


def _write_weights(
    folder: Path, params: Params, description: Description, music: str,
    finished: Sequence[Finished],
) -> None:  # fmt: skip
    """Every repeat's and fold's weights, and <mode>.json, which makes one ensemble of them."""
    path = folder / f"{finished[0].mode}.json"
    members: list[dict[str, Any]] = []
    for done in finished:
        for fold, weights in enumerate(done.weights):
            copied = weights_path(path, done.repeat, fold)
            shutil.copyfile(weights, copied)
            members.append(
                {"repeat": done.repeat, "fold": fold, "sha256": sha256(copied)}
                | {"validation": done.folds[fold]["validation"]}
            )
    written = description | {
        "transfer_mode": path.stem,
        "music_language": music,
        "features": params.features.model_dump(mode="json"),
        "feature_hash": labels.feature_hash(f"music-{music}"),
        "quadrants": list(QUADRANTS),
        "validation": _mean([member["validation"] for member in members]),
        "members": members,
    }
    write_json(path, written)
