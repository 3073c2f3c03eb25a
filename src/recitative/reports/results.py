"""What the evaluation's files say, as objects: cells and comparisons.

A comparison is numbers without a verdict: only the claims have one, and only
`evaluation.answers` answers a question.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import pandas as pd

from recitative.evaluation.comparisons import NO_PRETRAINING
from recitative.evaluation.metrics import LABELS, decide, score, to_song_level
from recitative.vocabulary import LANGUAGES, QUADRANTS, setting_of

Row = Mapping[str, str]

MODES = {
    "feature_extraction": "Feature extraction",
    "full": "Full",
    "random_encoder": "random encoder",
    "scratch": "from scratch",
    "shuffled_labels": "shuffled labels",
    "mfcc_svm": "MFCC + SVM",
    "opensmile_svm": "openSMILE + SVM",
    "stratified": "stratified random",
    "majority": "majority class",
}
OTHER_CONTROLS = "Other controls"


@dataclass(frozen=True)
class Scores:
    """One task and average, song level, in [0, 1]; the weighted average has no interval."""

    f1: float
    low: float | None
    high: float | None
    precision: float | None = None  # of no listener
    recall: float | None = None


@dataclass(frozen=True)
class Cell:
    """One transfer mode of one pairing, or one control, on one music set."""

    experiment: str  # empty: the present one
    arch: str
    mode: str
    pairing: str
    songs: int
    repeats: int
    scores: dict[tuple[str, str], Scores]  # by task and average
    by_repeat: tuple[float, ...] = ()  # quadrant macro F of each
    recall: Mapping[str, float] = field(default_factory=dict)  # by quadrant, mean over repeats
    support: Mapping[str, int] = field(default_factory=dict)  # true songs of each quadrant
    run_ids: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Experiment, architecture, mode and pairing."""
        return self.experiment, self.arch, self.mode, self.pairing

    @property
    def music(self) -> str:
        """Language of the music."""
        return self.pairing.split("2")[1]

    @property
    def control(self) -> bool:
        """Whether nothing was pretrained."""
        return self.pairing.startswith("none2")

    @property
    def setting(self) -> str:
        """`intra`, `cross`, `mix` or `none`."""
        return setting_of(self.pairing)

    @property
    def name(self) -> str:
        """What the reader sees in a row."""
        if not self.control:
            return f"{LANGUAGES[self.pairing.split('2')[0]]} speech"
        named = mode_name(self.mode)
        return f"no speech: {named}" if self.mode in NO_PRETRAINING.values() else named

    @property
    def quadrant(self) -> Scores:
        """What stands first everywhere."""
        return self.scores["quadrant", "macro"]


@dataclass(frozen=True)
class Comparison:
    """a less b on the same songs, in points of song-level quadrant macro F."""

    music: str
    mode: str
    a: str  # pairing
    b: str
    b_mode: str
    songs: int
    difference: float
    low: float
    high: float
    p: float  # corrected over the family

    @property
    def with_control(self) -> bool:
        """Whether b was not pretrained."""
        return self.b.startswith("none2")

    @property
    def of_languages(self) -> bool:
        """Whether speech in the music's language is compared with speech in the other one."""
        return {setting_of(self.a), setting_of(self.b)} == {"intra", "cross"}

    @property
    def sides(self) -> tuple[str, str]:
        """What the reader sees of a and of b."""
        a, b = (LANGUAGES[pairing.split("2")[0]] for pairing in (self.a, self.b))
        return f"{a} speech", mode_name(self.b_mode) if self.with_control else f"{b} speech"

    def intra_first(self) -> "Comparison":
        """The same comparison with the intra-language cell as a."""
        if setting_of(self.a) == "intra":
            return self
        return replace(
            self, a=self.b, b=self.a, difference=-self.difference, low=-self.high, high=-self.low
        )


def mode_name(mode: str) -> str:
    """What the reader sees; a mode without an entry is shown by its own name."""
    return MODES.get(mode, mode.replace("_", " "))


def music_name(music: str) -> str:
    """E.g. ``Mandarin music``."""
    return f"{LANGUAGES.get(music, music)} music"


def by_columns(rows: Iterable[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    """The rows by what stands in some columns; empty where there is no such column."""
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row.get(name, "") for name in names)].append(row)
    return found


def read_cells(
    rows: Iterable[Row],
    results: Iterable[Row] = (),
    classes: Iterable[Row] = (),
    *,
    runs: Mapping[tuple[str, ...], Sequence[str]] | None = None,
) -> list[Cell]:
    """Cells from the rows of summary.csv or matrix.csv, in the order of `MODES`.

    `results` are the rows of results.csv, for each repeat's F; `classes` those of classes.csv; `runs`
    MLflow's run ids by experiment, arch, transfer mode and pairing.
    """
    f1 = by_columns(results, "transfer_mode", "pairing", "task", "level", "average")
    named = by_columns(classes, "transfer_mode", "pairing", "task", "level", "class")

    def cell(key: tuple[str, ...], found: Sequence[Row]) -> Cell:
        experiment, arch, mode, pairing = key
        place = mode, pairing, "quadrant", "song"
        of_class = {q: named[*place, q] for q in QUADRANTS if (*place, q) in named}
        return Cell(
            experiment, arch, mode, pairing, int(found[0]["songs"]), int(found[0]["repeats"]),
            {(row["task"], row["average"]): _scores(row) for row in found},
            tuple(float(row["f1"]) for row in f1.get((*place, "macro"), ())),
            {q: fmean(float(row["recall"]) for row in all_) for q, all_ in of_class.items()},
            {q: int(all_[-1]["support"]) for q, all_ in of_class.items()},
            tuple((runs or {}).get(key, ())),
        )  # fmt: skip

    cells = by_columns(rows, "experiment", "arch", "transfer_mode", "pairing")
    order, modes = ["intra", "cross", "mix", "none"], list(MODES)
    return sorted(
        (cell(*one) for one in cells.items()),
        key=lambda cell: (
            modes.index(cell.mode) if cell.mode in MODES else len(modes),
            order.index(cell.setting),
        ),
    )


def _scores(row: Row) -> Scores:
    names = ("f1", "low", "high", "precision", "recall")
    f1, *others = (float(row[name]) if row[name] else None for name in names)
    return Scores(f1 or 0.0, *others)


def read_comparisons(tests: Iterable[Row]) -> list[Comparison]:
    """Comparisons from the rows of tests.csv; of two languages, the intra cell stands first."""
    found = [
        Comparison(
            row["music_language"], row["a_mode"], row["a_pairing"], row["b_pairing"], row["b_mode"],
            int(row["songs"]), float(row["difference"]), float(row["low"]), float(row["high"]),
            float(row["p_corrected"]),
        )
        for row in tests
    ]  # fmt: skip
    return [one.intra_first() if one.of_languages else one for one in found]


def grouped(cells: Sequence[Cell], music: str) -> dict[str, list[Cell]]:
    """The cells of one music set: each mode with the control that it is compared to, then others."""
    groups: dict[str, list[Cell]] = {}
    mode_of = {control: mode for mode, control in NO_PRETRAINING.items()}
    for cell in cells:
        if cell.music == music:
            mode = mode_of.get(cell.mode, cell.mode)
            name = OTHER_CONTROLS if cell.control and mode == cell.mode else mode_name(mode)
            groups.setdefault(name, []).append(cell)
    return groups


def majority(cells: Sequence[Cell], music: str) -> float | None:
    """Quadrant macro F of the majority class on one music set; None where it was not run."""
    found = [cell for cell in cells if (cell.music, cell.mode) == (music, "majority")]
    return found[0].quadrant.f1 if found else None


def read_ceilings(listeners: Mapping[str, Any]) -> dict[str, dict[str, Scores]]:
    """What one listener reaches against the others' majority, by music set and task.

    From agreement.json; a set without several raters is not in it.
    """
    return {
        music: {
            task: Scores(found["macro_f1"], found["low"], found["high"])
            for task, found in held.get("ceiling", {}).items()
            if found
        }
        for music, held in listeners.items()
    }


def agreement_by_quadrant(
    listeners: Mapping[str, Any], cells: Sequence[Cell]
) -> dict[str, dict[str, dict[str, float]]]:
    """How often each quadrant is told by listeners and by networks, as shares.

    By music set and quadrant: `listeners`, how often another listener says it of a clip of which one
    does; `pretrained` and `not pretrained`, mean recall over those cells.
    """
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for music, held in listeners.items():
        here = [cell for cell in cells if cell.music == music]
        kinds = {
            "pretrained": [cell for cell in here if not cell.control],
            "not pretrained": [cell for cell in here if cell.mode in NO_PRETRAINING.values()],
        }
        for place, quadrant in enumerate(LABELS["quadrant"]):
            row = held["confusion"][place][place] if held.get("confusion") else None
            shares = {"listeners": row} if row is not None else {}
            for kind, of in kinds.items():
                recalls = [cell.recall[quadrant] for cell in of if quadrant in cell.recall]
                if recalls:
                    shares[kind] = sum(recalls) / len(recalls)
            found[music][quadrant] = shares
    return found


def song_confusions(predictions: pd.DataFrame) -> dict[str, list[list[int]]]:
    """Song-level quadrant confusions of each transfer mode, repeats added up.

    By mode, (4, 4) counts: rows true, columns predicted.
    """
    return {
        str(mode): score(*decide(table, "quadrant"), "quadrant").confusion.tolist()
        for mode, table in to_song_level(predictions).groupby("transfer_mode", sort=False)
    }


def signed(points: float, digits: int = 1) -> str:
    """Points with sign and a true minus, e.g. ``+3.2`` and ``−0.4``; zero has no sign."""
    text = f"{points:+.{digits}f}".replace("-", "−")
    return text if float(text.replace("−", "-")) else text[1:]
