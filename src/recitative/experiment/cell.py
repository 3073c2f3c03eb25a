"""The work that transfer and controls share: one repeat of some modes, fold by fold, resumable.

A repeat is one process. What it finished lies in the work folder (weights, predictions, a small
JSON written last), so that a killed stage trains nothing twice.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from recitative.agreement.consensus import label_shares
from recitative.agreement.ratings import read_music_ratings
from recitative.corpora.splits import SplitRow, parts_for_fold, read_splits
from recitative.evaluation.metrics import TASKS, decide, score, to_song_level
from recitative.experiment import labels as identity
from recitative.experiment.parallel import in_parallel, stop_without
from recitative.experiment.places import FEATURES, INDEX, SPLITS, content_key, role_clips
from recitative.features.store import FeatureStore, band_statistics
from recitative.files import atomic_path, read_json, write_json
from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES, TransferConfig
from recitative.learning.labels import Opinion, reliable_part, training_labels
from recitative.learning.segments import LabelledSegments
from recitative.learning.transfer import Parts, calibrate, encode, fit_mode, predict_segments
from recitative.models.storage import (
    Description,
    build_classifier,
    build_encoder,
    load_weights,
    save_weights,
)
from recitative.params import Params
from recitative.reports.figures import confusion_figure, history_figure
from recitative.seeding import derive_seed, seed_everything
from recitative.tracking.runs import Run, open_run


@dataclass(frozen=True)
class Repeat:
    """One process's work: `modes` in order, for one repeat, over every fold.

    Attributes:
        params: all parameters; it is a stage that runs this.
        transfer: of the present modes (the controls need more epochs from scratch).
        description: of the classifier, its encoder included.
        speech: language of the pretraining; `none` for controls.
        music: language of the music.
        modes: names in TRANSFER_MODES; a mode `after` another follows it.
        repeat: number of the repeat.
        encoder: weights of the pretrained model; None draws a random one.
        codes: the frozen codes of all segments; None where each repeat has an encoder of its own.
        work: where finished parts and checkpoints are kept.
        parent: id of the run that groups the cell's.
        stage: process that waits for the result; once it is killed, no further mode is begun.
    """

    params: Params
    transfer: TransferConfig
    description: Description
    speech: str
    music: str
    modes: tuple[str, ...]
    repeat: int
    encoder: Path | None
    codes: Path | None
    work: Path
    parent: str
    stage: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class Finished:
    """What one mode of one repeat left in the work folder, one entry a fold in each list."""

    mode: str
    repeat: int
    run_id: str
    folds: list[dict[str, Any]]  # validation scores, epochs
    weights: list[Path]
    predictions: list[Path]

    def table(self) -> pd.DataFrame:
        """The test predictions of all folds."""
        return pd.concat([pd.read_csv(path) for path in self.predictions], ignore_index=True)


def music_key(params: Params, music: str, *more: Any) -> str:
    """The key of what is trained on a music set: its features, split and labels, and `more`."""
    role = f"music-{music}"
    return content_key(
        FEATURES / role / "features.json",
        SPLITS / f"{role}.csv",
        INDEX / f"{role}.csv",
        [
            params.seed,
            str(Compute.decide(params.compute)),
            params.split.model_dump(mode="json"),
            params.features.segment_hop,
        ],
        *more,
    )


def load_music(params: Params, music: str) -> tuple[LabelledSegments, list[Parts]]:
    """A music role's segments, and its parts in each fold (one where nothing is folded)."""
    role = f"music-{music}"
    clips = role_clips(role)
    store = FeatureStore.open(FEATURES / role)
    features = params.features
    segments = LabelledSegments.load(store, clips, features.segment_frames, features.segment_hop)
    rows = read_splits(SPLITS, role)
    folds: list[list[SplitRow]] = [rows]
    if params.split.scheme == "grouped_folds":
        folds = [
            parts_for_fold(role, rows, clips, fold, params.split, params.seed)
            for fold in range(params.split.folds)
        ]
    return segments, [_parts(segments, rows) for rows in folds]


def load_opinions(music: str) -> dict[str, Opinion]:
    """What the listeners of each clip say; nothing where the set has no ratings."""
    path = INDEX / f"music-{music}.ratings.csv"
    if not path.exists():
        return {}
    shares = label_shares(read_music_ratings(path))
    return {clip: Opinion(share, agreement) for clip, share, agreement in shares}


def _parts(segments: LabelledSegments, rows: Sequence[SplitRow]) -> Parts:
    return Parts(
        *(
            segments.of(row.id for row in rows if row.split == part)
            for part in ("train", "validation", "test")
        )
    )


def run_repeats(repeats: Sequence[Repeat]) -> list[list[Finished]]:
    """Train the modes of every repeat, side by side; what is finished already is only read."""
    to_do = [(one,) for one in repeats if not all(_is_done(one, mode) for mode in one.modes)]
    if to_do:
        in_parallel(run_repeat, to_do, repeats[0].params.compute)
    return [[_read_mode(one, mode) for mode in one.modes] for one in repeats]


def run_repeat(repeat: Repeat) -> None:
    """Train the modes of one repeat, in order."""
    for mode in repeat.modes:
        stop_without(repeat.stage)
        # The lock: a worker outlives its killed stage by the mode that it is at.
        with FileLock(_done(repeat, mode).with_suffix(".lock")):
            if not _is_done(repeat, mode):
                _train_mode(repeat, mode, _done(repeat, mode))


def _done(repeat: Repeat, name: str) -> Path:
    return repeat.work / f"{name}-{repeat.repeat}.json"


def _is_done(repeat: Repeat, name: str) -> bool:
    """Killed between its results and its end, a run is gone through again, training nothing."""
    done = _done(repeat, name)
    return done.exists() and not done.with_suffix(".run_id").exists()


def _read_mode(repeat: Repeat, name: str) -> Finished:
    label = f"{name}-{repeat.repeat}"
    found = read_json(_done(repeat, name))
    folds = range(len(found["folds"]))
    return Finished(
        name,
        repeat.repeat,
        found["run_id"],
        found["folds"],
        [repeat.work / f"{label}-{fold}.safetensors" for fold in folds],
        [repeat.work / f"{label}-{fold}.csv" for fold in folds],
    )


def _train_mode(repeat: Repeat, name: str, done: Path) -> None:
    params, role = repeat.params, f"music-{repeat.music}"
    compute = Compute.decide(params.compute)
    cell = identity.labels(params, compute, repeat.speech, repeat.music, name, repeat.repeat)
    segments, folds = load_music(params, repeat.music)
    with open_run(
        f"{cell['pairing']} {params.pretrain.arch} {name} {repeat.repeat}",
        identity.run_params(params, cell, "transfer", "encoder", "features", "balance", "split"),
        cell | identity.provenance("transfer", role),
        [identity.inputs(role, "training"), identity.inputs(role, "evaluation")],
        repeat.parent,
        done.with_suffix(".run_id"),
    ) as tracked:
        results, histories, tables = [], [], []
        for fold, parts in enumerate(folds):
            prefix = f"fold{fold}_" if len(folds) > 1 else ""
            for epoch in _train_fold(repeat, name, fold, segments, parts, compute):
                step = {f"{prefix}{key}": value for key, value in epoch.metrics().items()}
                tracked.log_metrics(step, step=epoch.index)
            path = repeat.work / f"{name}-{repeat.repeat}-{fold}"
            result = read_json(path.with_suffix(".json"))
            histories.append(result.pop("history"))
            results.append(result | {"epochs": len(histories[-1])})
            tables.append(pd.read_csv(path.with_suffix(".csv")))
        test = scores(pd.concat(tables))
        tracked.log_metrics({f"test_{key}": value for key, value in test.items()})
        validation = pd.DataFrame([fold["validation"] for fold in results]).mean()
        tracked.log_metrics({f"best_validation_{k}": float(v) for k, v in validation.items()})
        tracked.log_figure(history_figure(*histories), "history.png")
        tracked.log_metrics({"dropped_clips": sum(fold["dropped_clips"] for fold in results)})
        log_predictions(tracked, pd.concat(tables))
        write_json(done, {"run_id": tracked.id, "folds": results})


def log_predictions(tracked: Run, predictions: pd.DataFrame) -> None:
    """Store a repeat's test predictions, and the song-level confusion matrix of every task."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        predictions.to_csv(path, index=False, float_format="%.6g")
        tracked.log_artifact(path)
    songs = to_song_level(predictions)
    for task in TASKS:
        scored = score(*decide(songs, task), task)
        tracked.log_figure(confusion_figure(scored, task), f"confusion_{task}.png")


def scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Macro F and accuracy of every task, song level first; names as MLflow shows them."""
    flat = {}
    for level, table in (("", to_song_level(predictions)), ("segment_", predictions)):
        for task in TASKS:
            scored = score(*decide(table, task), task)
            flat[f"{level}{task}_f1"] = float(scored.macro.f1)
            flat[f"{level}{task}_accuracy"] = float(scored.accuracy)
    return flat


def _train_fold(
    repeat: Repeat, name: str, fold: int, segments: LabelledSegments, parts: Parts, compute: Compute
) -> Any:
    """Yield epochs; then weights, test predictions and validation scores lie in the work folder."""
    path = repeat.work / f"{name}-{repeat.repeat}-{fold}"
    if path.with_suffix(".json").exists():
        return
    mode, params = TRANSFER_MODES[name], repeat.params
    stage = "controls" if repeat.speech == "none" else "transfer"
    stream = (stage, params.pretrain.arch, f"{repeat.speech}2{repeat.music}")
    seed = derive_seed(params.seed, *stream, name, repeat.repeat, fold)
    seed_everything(derive_seed(seed, "weights"))
    encoder = build_encoder(repeat.description)
    if mode.encoder == "random" and params.encoder.standardize == "band":
        train_clips = [segments.clips[c] for c in np.unique(segments.clip[parts.train])]
        statistics = band_statistics(segments.store, train_clips)
        encoder.standardize.set(*(torch.from_numpy(s) for s in statistics))
    if mode.encoder == "random" and mode.phase == "frozen":
        calibrate(encoder, segments, parts.train, compute)
    model = build_classifier(repeat.description, encoder)
    if mode.after:
        before = repeat.work / f"{mode.after}-{repeat.repeat}-{fold}.safetensors"
        load_weights(before, model)
    elif repeat.encoder:
        load_encoder(repeat.encoder, model)
    codes, own = None, path.with_suffix(".codes.npy")
    if mode.phase == "frozen":
        codes = (
            np.load(repeat.codes, mmap_mode="r")
            if repeat.codes
            else encode(model.encoder, segments, compute, own)
        )
    checkpoint = Checkpoint(
        path.with_suffix(".checkpoint"), repeat.params.compute.checkpoint_seconds
    )
    opinions, config = load_opinions(repeat.music), repeat.transfer
    taught = training_labels(segments, opinions, config.labels)
    learned = parts
    if config.labels == "reliable":
        kept = reliable_part(taught, parts.train, opinions, config.reliable_agreement)
        learned = replace(parts, train=kept)
    history = []
    for epoch in fit_mode(mode, model, taught, learned, codes, config, compute, seed, checkpoint):
        history.append(epoch.row())
        yield epoch
    tables = {}
    for part, rows in (("validation", parts.validation), ("test", parts.test)):
        predicted = predict_segments(model, segments, rows, compute, codes)
        table = segments.predictions(rows, predicted.astype(np.float64).round(6))
        tables[part] = label(table, params.pretrain.arch, name, repeat.repeat, fold)
    save_weights(path.with_suffix(".safetensors"), model)
    with atomic_path(path.with_suffix(".csv")) as temporary:
        tables["test"].to_csv(temporary, index=False)
    clips = [len(np.unique(segments.clip[rows])) for rows in (parts.train, learned.train)]
    result = {
        "validation": scores(tables["validation"]),
        "train_clips": clips[1],
        "dropped_clips": clips[0] - clips[1],
        "history": history,
    }
    write_json(path.with_suffix(".json"), result)
    checkpoint.remove()
    own.unlink(missing_ok=True)


def label(table: pd.DataFrame, arch: str, mode: str, repeat: int, fold: int) -> pd.DataFrame:
    """Put in front of predictions whose they are, and behind them of which fold's model."""
    whose = pd.DataFrame({"arch": arch, "transfer_mode": mode, "repeat": repeat}, table.index)
    return pd.concat([whose, table.assign(fold=fold)], axis=1)


def load_encoder(pretrained: Path, model: torch.nn.Module) -> None:
    """Load the encoder of a pretraining model's weights into a classifier; nothing else fits."""
    from safetensors.torch import load_file

    weights = load_file(pretrained)
    prefix = "encoder."
    encoder = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    model.get_submodule("encoder").load_state_dict(encoder)
