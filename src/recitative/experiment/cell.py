"""One cell of the experiment: from labelled music and an encoder to weights, predictions and scores.

The file to read first. A cell is one transfer mode (or one control that is a network) on one music
set, in one repeat and one fold. `train_cell` builds the network, trains it on the training part,
chooses the epoch on the validation part, and predicts the test part, which nothing before has seen.
With `transfer.refit` it is built and trained a second time with the settings that were chosen, now on
all but the test part, and that network predicts the test part.
Around it, `experiment/repeats.py` runs all cells of a stage side by side and tracks them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from recitative.evaluation.metrics import TASKS, decide, score, to_song_level
from recitative.features.store import band_statistics
from recitative.files import atomic_path, read_json, write_json
from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES, FitConfig, TransferConfig
from recitative.learning.labels import Opinion, reliable_part, training_labels
from recitative.learning.segments import LabelledSegments
from recitative.learning.training import Epoch
from recitative.learning.transfer import (
    Parts,
    calibrate,
    encode,
    fit_mode,
    predict_segments,
    spread,
)
from recitative.models import storage
from recitative.models.classifier import EmotionClassifier
from recitative.models.storage import Description
from recitative.seeding import derive_seed, seed_everything


@dataclass(frozen=True)
class Cell:
    """What one cell is made of."""

    mode: str  # a name in TRANSFER_MODES
    repeat: int
    fold: int  # 0 where nothing is folded
    seed: int  # root of its random streams
    description: Description  # of the classifier, its encoder included
    config: TransferConfig
    standardize: bool  # give a random encoder the mel statistics of the training part
    encoder: Path | None  # weights of a pretrained model; None draws a random encoder
    before: Path | None  # `path` of the same repeat's cell that this one goes on from
    codes: Path | None  # frozen, of all segments; None: the cell computes its own if it needs any
    path: Path  # where its files lie, without their endings
    checkpoint_seconds: float  # between two checkpoints, at least

    @property
    def weights(self) -> Path:
        """The trained network: safetensors."""
        return self.path.with_suffix(".safetensors")

    @property
    def predictions(self) -> Path:
        """The test predictions: rows of predictions.csv."""
        return self.path.with_suffix(".csv")

    @property
    def result(self) -> Path:
        """Validation scores and learning curve, written last: with it the cell is finished."""
        return self.path.with_suffix(".json")

    @property
    def scored(self) -> "Cell":
        """The same, trained on the training part alone: what the validation part can score."""

        def beside(path: Path) -> Path:
            return path.with_name(f"{path.name}-scored")

        config = self.config.model_copy(update={"refit": False})
        before = beside(self.before) if self.before else None
        return replace(self, path=beside(self.path), before=before, config=config)


def train_cell(
    cell: Cell,
    music: LabelledSegments,
    parts: Parts,
    opinions: Mapping[str, Opinion],
    compute: Compute,
    log: Callable[[Epoch], None],
) -> dict[str, Any]:
    """Train one cell and write its files; a finished one is only read.

    `music` has the set's own labels; `opinions` are what listeners say of each clip, where there are
    ratings; `log` is told each epoch.

    Returns:
        ``validation``: scores of the kept epoch, nothing where no choice is made by them;
        ``history``: a row an epoch; ``train_clips`` and ``dropped_clips``: how many were learned from
        and how many left out as disputed.
    """
    if cell.result.exists():
        return dict(read_json(cell.result))
    mode, config, first = TRANSFER_MODES[cell.mode], cell.config, None
    if config.refit:
        if mode.encoder == "pretrained":  # a control is never chosen: it needs no such score
            untested = replace(parts, test=parts.test[:0])
            first = train_cell(cell.scored, music, untested, opinions, compute, log)
            config = config.with_epochs(mode, 1 + _kept(first["history"], config.of(mode)))
        parts = parts.refit
    model = _network(cell, music, parts, compute)
    codes: np.ndarray | None = None
    if mode.phase == "frozen" and cell.codes:  # shared by all repeats
        codes = np.load(cell.codes, mmap_mode="r")
    elif mode.phase == "frozen":
        codes = encode(model, music, compute, _own_codes(cell))
    taught, learned = training_labels(music, opinions, config.labels), parts
    if config.labels == "reliable":  # without the training clips that listeners dispute
        kept = reliable_part(taught, parts.train, opinions, config.reliable_agreement)
        learned = replace(parts, train=kept)
    checkpoint = Checkpoint(cell.path.with_suffix(".checkpoint"), cell.checkpoint_seconds)
    history = []
    for epoch in fit_mode(
        mode, model, taught, learned, codes, config, compute, cell.seed, checkpoint
    ):
        history.append(epoch.row())
        if not first:
            log(epoch)

    predict = partial(_predict, cell, model, music, compute, codes)
    validation = {} if parts.validation is None else scores(predict(parts.validation))
    storage.save_weights(cell.weights, model)
    if len(parts.test):
        write_predictions(cell.predictions, predict(parts.test))
    clips = [len(np.unique(music.clip[rows])) for rows in (parts.train, learned.train)]
    result = {
        "validation": validation,
        "train_clips": clips[1],
        "dropped_clips": clips[0] - clips[1],
        "history": history,
    } | ({key: first[key] for key in ("validation", "history")} if first else {})
    write_json(cell.result, result)
    checkpoint.remove()
    _own_codes(cell).unlink(missing_ok=True)
    return result


def _network(
    cell: Cell, music: LabelledSegments, parts: Parts, compute: Compute
) -> EmotionClassifier:
    """The network as its training begins: pretrained, random, or as another mode left it."""
    mode = TRANSFER_MODES[cell.mode]
    seed_everything(derive_seed(cell.seed, "weights"))
    encoder = storage.build_encoder(cell.description)
    if mode.encoder == "random":
        if cell.standardize:
            clips = [music.clips[c] for c in np.unique(music.clip[parts.train])]
            statistics = band_statistics(music.store, clips)
            encoder.standardize.set(*(torch.from_numpy(s) for s in statistics))
        if mode.phase == "frozen":
            calibrate(encoder, music, parts.train, compute)
        elif cell.config.classifier.standardize:  # for the statistics that its heads begin with
            calibrate(encoder, music, spread(parts.train), compute)
    model = storage.build_classifier(cell.description, encoder)
    if cell.before:
        storage.load_weights(cell.before.with_suffix(cell.weights.suffix), model)
    elif cell.encoder:
        load_encoder(cell.encoder, model)
    return model


def _kept(history: Sequence[Mapping[str, Any]], config: FitConfig) -> int:
    """The epoch whose weights were kept."""
    return int([row["epoch"] for row in history if row["best"] or config.keep == "last"][-1])


def _own_codes(cell: Cell) -> Path:
    return cell.path.with_suffix(".codes.npy")


def _predict(
    cell: Cell,
    model: EmotionClassifier,
    music: LabelledSegments,
    compute: Compute,
    codes: np.ndarray | None,
    rows: np.ndarray,
) -> pd.DataFrame:
    """Probabilities and the set's own labels of some segments, as predictions.csv has them."""
    predicted = predict_segments(model, music, rows, compute, codes).astype(np.float64).round(6)
    table = music.predictions(rows, predicted)
    return label(table, cell.description["arch"], cell.mode, cell.repeat, cell.fold)


def label(table: pd.DataFrame, arch: str, mode: str, repeat: int, fold: int) -> pd.DataFrame:
    """Put in front of predictions whose they are, and behind them which fold's model made them."""
    whose = pd.DataFrame({"arch": arch, "transfer_mode": mode, "repeat": repeat}, table.index)
    return pd.concat([whose, table.assign(fold=fold)], axis=1)


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Write rows of predictions.csv."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def scores(predictions: pd.DataFrame) -> dict[str, float]:
    """Macro F and accuracy of every task, song level first; names as MLflow shows them."""
    flat = {}
    for level, table in (("", to_song_level(predictions)), ("segment_", predictions)):
        for task in TASKS:
            scored = score(*decide(table, task), task)
            flat[f"{level}{task}_f1"] = float(scored.macro.f1)
            flat[f"{level}{task}_accuracy"] = float(scored.accuracy)
    return flat


def load_encoder(pretrained: Path, model: torch.nn.Module) -> None:
    """Load the encoder of a pretraining model's weights into a classifier; nothing else fits."""
    prefix = "encoder."
    weights = load_file(pretrained).items()
    encoder = {name.removeprefix(prefix): w for name, w in weights if name.startswith(prefix)}
    model.get_submodule("encoder").load_state_dict(encoder)
