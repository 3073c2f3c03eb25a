"""Precision, recall, F and accuracy, per class, macro and weighted, per segment and per song.

The paper prints one run's support-weighted averages as if they were macro, scores segments only,
and prints valence in the row of arousal (docs/protocols.md: C9, C10, C21). Here both averages, both
levels and all three tasks are always there, and always labelled.

A predictions table has the columns `PREDICTION_COLUMNS`, one row a segment and repeat: q1 to q4
are the probabilities of the quadrants, arousal and valence those of the positive class, quadrant
the truth. Shapes: N items (segments or songs), R repeats, S songs, K classes of the task.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recitative.errors import UserError
from recitative.vocabulary import QUADRANTS, SIGNS

Task = Literal["quadrant", "arousal", "valence"]
Level = Literal["segment", "song"]
Average = Literal["macro", "weighted"]
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

TASKS: tuple[Task, ...] = get_args(Task)
LEVELS: tuple[Level, ...] = get_args(Level)
AVERAGES: tuple[Average, ...] = get_args(Average)

# A label's code is its place here. Binary: the positive class is 1.
LABELS: dict[Task, tuple[str, ...]] = {
    "quadrant": QUADRANTS, "arousal": ("A-", "A+"), "valence": ("V-", "V+"),
}  # fmt: skip
# The code of each quadrant in each task.
QUADRANT_CODES: dict[Task, dict[str, int]] = {
    "quadrant": {name: code for code, name in enumerate(QUADRANTS)},
    "arousal": {name: int(arousal > 0) for name, (arousal, _) in SIGNS.items()},
    "valence": {name: int(valence > 0) for name, (_, valence) in SIGNS.items()},
}
THRESHOLD = 0.5  # probability at or above which a binary task is positive

CELL_COLUMNS = ("arch", "transfer_mode", "repeat")  # what names one training in a table
QUADRANT_PROBABILITIES = ("q1", "q2", "q3", "q4")
PROBABILITIES = (*QUADRANT_PROBABILITIES, "arousal", "valence")
SONG_COLUMNS = (*CELL_COLUMNS, "clip", "group", *PROBABILITIES, "quadrant")
PREDICTION_COLUMNS = (*CELL_COLUMNS, "clip", "group", "segment", *PROBABILITIES, "quadrant")
RESULT_COLUMNS = (
    "experiment", "arch", "transfer_mode", "pairing", "setting", "speech_language",
    "music_language", "repeat", "task", "level", "average", "precision", "recall", "f1", "accuracy",
    "n",
)  # fmt: skip
CLASS_COLUMNS = (
    "experiment", "arch", "transfer_mode", "pairing", "music_language", "repeat", "task", "level",
    "class", "precision", "recall", "f1", "support",
)  # fmt: skip


@dataclass(frozen=True)
class Averages:
    """Precision, recall and F of one kind of average, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Score:
    """How one set of decisions fares against the truth. Classes are in the order of `labels`."""

    labels: tuple[str, ...]
    precision: Floats  # (K,)
    recall: Floats  # (K,)
    f1: Floats  # (K,)
    support: Codes  # (K,), items whose true class this is
    confusion: Codes  # (K, K), rows true, columns predicted
    macro: Averages
    weighted: Averages
    accuracy: float
    n: int


@dataclass(frozen=True)
class SongDecisions:
    """What every repeat of one cell decided on the same songs, in one order."""

    task: Task
    songs: tuple[str, ...]
    true: Codes  # (S,)
    predicted: Codes  # (R, S)


def check_predictions(predictions: pd.DataFrame, source: str = "predictions.csv") -> None:
    """Refuse a predictions table, of segments or of songs, that cannot be scored.

    Raises:
        UserError: a column is missing, the table is empty, a quadrant is unknown, or a probability
            is no number in [0, 1] or the four of a row do not sum to 1.
    """
    missing = [name for name in SONG_COLUMNS if name not in predictions.columns]
    if missing:
        raise UserError(
            f"{source}: no column {', '.join(missing)}; run `dvc repro` to write it anew"
        )
    if predictions.empty:
        raise UserError(f"{source}: no predictions; is the test part empty? `recitative audit`")
    unknown = ~predictions["quadrant"].isin(LABELS["quadrant"]).to_numpy()
    if unknown.any():
        row = predictions.iloc[int(unknown.argmax())]
        raise UserError(
            f"{source}: clip {row['clip']}: quadrant {row['quadrant']!r} is none of "
            f"{', '.join(LABELS['quadrant'])}; correct the index of its corpus"
        )
    values = predictions[list(PROBABILITIES)].to_numpy(dtype=np.float64)
    wrong = ~((values >= 0) & (values <= 1)).all(axis=1)  # NaN compares false
    wrong |= ~(np.abs(values[:, :4].sum(axis=1) - 1) <= 0.01)  # 0.01: written with few digits
    if wrong.any():
        row = predictions.iloc[int(wrong.argmax())]
        shown = ", ".join(f"{name} {row[name]:.4g}" for name in PROBABILITIES)
        raise UserError(
            f"{source}: {row['arch']} {row['transfer_mode']}, repeat {row['repeat']}, clip "
            f"{row['clip']}: {shown} are no probabilities; train that repeat again "
            "(a lower learning rate if it diverged)"
        )


def read_predictions(path: Path) -> pd.DataFrame:
    """A predictions.csv that can be scored; errors as `check_predictions`."""
    table = pd.read_csv(path)
    check_predictions(table, str(path))
    return table


def to_song_level(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a song and repeat: the mean of its segments' probabilities.

    The same columns but `segment`, sorted by arch, transfer mode, repeat and clip.

    Raises:
        UserError: the table cannot be scored, or one clip has two groups or two quadrants.
    """
    check_predictions(predictions)
    facts = predictions[["clip", "group", "quadrant"]].drop_duplicates()
    twice = facts["clip"].duplicated()
    if twice.any():
        clip = facts.loc[twice, "clip"].iloc[0]
        raise UserError(
            f"predictions.csv: clip {clip} has more than one group or true quadrant; predictions "
            "of different corpora or indexes are mixed: run `dvc repro`"
        )
    keys = [*CELL_COLUMNS, "clip"]
    how = dict.fromkeys(PROBABILITIES, "mean") | {"group": "first", "quadrant": "first"}
    songs = predictions.groupby(keys, sort=True, as_index=False).agg(how)
    return songs[list(SONG_COLUMNS)]


def decide(predictions: pd.DataFrame, task: Task) -> tuple[Codes, Codes]:
    """Truth and decision for every row, each (N,) codes into ``LABELS[task]``.

    The quadrant is the most probable one (of equals the first); arousal and valence are positive
    at a probability of 0.5 or more.

    Raises:
        UserError: the table cannot be scored.
    """
    check_predictions(predictions)
    true: Codes = np.asarray(predictions["quadrant"].map(QUADRANT_CODES[task]), dtype=np.int64)
    if task == "quadrant":
        probabilities = predictions[list(QUADRANT_PROBABILITIES)].to_numpy(dtype=np.float64)
        decided = probabilities.argmax(axis=1)
    else:
        decided = predictions[task].to_numpy(dtype=np.float64) >= THRESHOLD
    return true, np.asarray(decided, dtype=np.int64)


def score(true: ArrayLike, predicted: ArrayLike, task: Task) -> Score:
    """Score decisions as scikit-learn does; a class that never occurs counts as 0, in macro too.

    Both are (N,) codes into ``LABELS[task]``.

    Raises:
        UserError: there is nothing to score.
    """
    true, predicted = np.asarray(true, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if true.size == 0:
        raise UserError(
            f"{task}: no items to score; is the test part empty? see `recitative audit`"
        )
    classes = len(LABELS[task])
    confusion = np.bincount(true * classes + predicted, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    hits, support, claimed = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    precision, recall, f1 = (
        np.divide(part, whole, out=np.zeros(classes), where=whole > 0)
        for part, whole in ((hits, claimed), (hits, support), (2 * hits, support + claimed))
    )
    macro, weighted = (
        Averages(*(float(np.average(each, weights=weights)) for each in (precision, recall, f1)))
        for weights in (None, support)
    )
    accuracy = float(np.trace(confusion) / true.size)
    per_class = (precision, recall, f1, support, confusion)
    return Score(LABELS[task], *per_class, macro, weighted, accuracy, true.size)


def macro_f1_from_confusion(confusions: ArrayLike) -> Floats:
    """Macro F of many confusion matrices at once: what `score` gives, without its cost.

    (..., K, K) counts, rows true, columns predicted, to (...) in [0, 1]; a class that neither occurs
    nor is predicted counts as 0.
    """
    counts = np.asarray(confusions, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(axis=-1) + counts.sum(axis=-2)  # support + predicted = 2 TP + FP + FN
    f1 = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
    return np.asarray(f1.mean(axis=-1), dtype=np.float64)


def song_decisions(predictions: pd.DataFrame, task: Task) -> SongDecisions:
    """The song-level decisions of all repeats of one cell: what `statistics` works on.

    Songs are sorted by clip, repeats by number.

    Raises:
        UserError: more than one cell, or the repeats were not tested on the same songs.
    """
    songs = to_song_level(predictions)
    cells = songs[["arch", "transfer_mode"]].drop_duplicates()
    if len(cells) > 1:
        raise UserError(
            f"predictions.csv: {len(cells)} cells where one is compared "
            f"({'; '.join(' '.join(cell) for cell in cells.to_numpy())}); select one first"
        )
    true, predicted = decide(songs, task)
    repeats = songs["repeat"].nunique()
    names = songs["clip"].to_numpy()
    order = names[: len(names) // repeats]
    if len(names) % repeats or (names.reshape(repeats, -1) != order).any():
        counts = songs.groupby("repeat")["clip"].nunique()
        shown = ", ".join(f"repeat {repeat}: {count} songs" for repeat, count in counts.items())
        raise UserError(
            f"predictions.csv: repeats tested on different songs ({shown}); train them again on "
            "one split with `dvc repro`"
        )
    return SongDecisions(
        task, tuple(map(str, order)), true[: len(order)], predicted.reshape(repeats, -1)
    )


def require_same_songs(a: SongDecisions, b: SongDecisions) -> None:
    """Refuse to pair two cells that were not tested on the same songs with the same truth.

    Raises:
        UserError: naming how many songs they share, or the first whose label differs.
    """
    if a.task != b.task:
        raise UserError(f"{a.task} cannot be compared with {b.task}; choose one task")
    if a.songs != b.songs:
        shared = len(set(a.songs) & set(b.songs))
        raise UserError(
            f"cells tested on different songs ({len(a.songs)} and {len(b.songs)}, {shared} shared) "
            "cannot be compared; run both experiments on one split"
        )
    differs = a.true != b.true
    if differs.any():
        raise UserError(
            f"song {a.songs[int(differs.argmax())]} has another true {a.task} in each cell; "
            "run both experiments on one index"
        )


def _scores(predictions: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Score]]:
    """Every training, level and task of a table: its columns, and its score."""
    tables: dict[Level, pd.DataFrame] = {"segment": predictions, "song": to_song_level(predictions)}
    for level, table in tables.items():
        for cell, rows in table.groupby(list(CELL_COLUMNS), sort=True):
            for task in TASKS:
                names = dict(zip(CELL_COLUMNS, cell, strict=True))
                yield names | {"level": level, "task": task}, score(*decide(rows, task), task)


def results_rows(predictions: pd.DataFrame, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of results.csv, `RESULT_COLUMNS`: every training of the table × level × task × average.

    `run` has what the table itself does not say: experiment, pairing, setting, speech_language and
    music_language. `n` counts the items of the level: segments or songs.

    Raises:
        UserError: the table cannot be scored.
    """
    rows = []
    for names, scored in _scores(predictions):
        for average in AVERAGES:
            values = {**run, **names, "average": average, **vars(getattr(scored, average))}
            values |= {"accuracy": scored.accuracy, "n": scored.n}
            rows.append({column: values[column] for column in RESULT_COLUMNS})
    return rows


def per_class_rows(predictions: pd.DataFrame, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the per-class table, `CLASS_COLUMNS`: every training × level × task × class.

    As `results_rows`; `run` has experiment, pairing and music_language.
    """
    rows = []
    for names, scored in _scores(predictions):
        for code, label in enumerate(scored.labels):
            values = {**run, **names, "class": label, "support": int(scored.support[code])}
            for figure in ("precision", "recall", "f1"):
                values[figure] = float(getattr(scored, figure)[code])
            rows.append({column: values[column] for column in CLASS_COLUMNS})
    return rows
