"""What was printed and what was released, read as facts, and what a recount finds in it.

`published_tables.csv`: every cell of the paper's two tables (Gómez-Cañón et al., ICASSP 2021).
`released_runs.csv`: the authors' own result files, one run a model, both averages.
`released_supports.csv`: how many test segments each quadrant has in those files.

A row printed as arousal holds valence and the other way round (C10): `task_as_printed` is the
heading that it stands under, `task_in_truth` what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recitative.errors import UserError
from recitative.evaluation.metrics import QUADRANT_CODES, TASKS, score

FOLDER = Path(__file__).parent / "published"
FIGURES = ("precision", "recall", "f1")
CELL = ("experiment", "arch", "transfer_mode", "pairing")
OTHER = {"arousal": "valence", "valence": "arousal"}
ROUNDED = 0.005 + 1e-9  # two figures rounded to two decimals are equal below this


@dataclass(frozen=True)
class Finding:
    """One thing that a recount shows: the sentence, the row of docs/protocols.md, its numbers."""

    row: str
    sentence: str
    numbers: Mapping[str, float]


def published_tables() -> pd.DataFrame:
    """The paper's Tables 1 and 2: 144 rows of 3 printed figures in [0, 1], two decimals."""
    return _read("published_tables.csv")


def released_runs() -> pd.DataFrame:
    """The released result files: as `published_tables`, with average, segments and accuracies."""
    return _read("released_runs.csv")


def released_supports() -> pd.DataFrame:
    """Columns music, quadrant, segments_in_test; the test parts of the two music sets."""
    return _read("released_supports.csv")


def _read(name: str) -> pd.DataFrame:
    path = FOLDER / name
    if not path.exists():
        raise UserError(f"{path}: missing from the installed package; install recitative again")
    return pd.read_csv(path)


def audit_published() -> list[Finding]:
    """Recount the printed figures: what was averaged, which rows are swapped, what chance scores."""
    return [_averages(), *_swap(), *(_majority(music) for music in ("man", "eng"))]


def _averages() -> Finding:
    """C9: how many printed cells equal each average of the released run."""
    printed, released = published_tables(), released_runs()
    keys = [*CELL, "task_as_printed"]
    equal: dict[str, float] = {}
    for average, runs in released.groupby("average"):
        both = printed.merge(runs, on=keys, suffixes=("", "_run"), validate="one_to_one")
        if len(both) != len(printed):
            raise UserError(f"{FOLDER}: {len(printed) - len(both)} printed rows without a run")
        same = [(both[name] - both[f"{name}_run"]).abs() < ROUNDED for name in FIGURES]
        equal[str(average)] = int(np.sum(same))
    cells = len(printed) * len(FIGURES)
    return Finding(
        "C9",
        f"{equal['weighted']} of {cells} printed cells equal one released run's support-weighted "
        f"average, {equal['macro']} its macro average; the tables say macro",
        {"cells": cells, **equal},
    )


def _swap() -> list[Finding]:
    """C10: recall averaged by support *is* accuracy, so each row says whose accuracy it holds.

    Both sides are rounded (recall to 0.01), and the same run on the same segments gave both.
    """
    released = released_runs()
    weighted = released[released["average"] == "weighted"]
    numbers: dict[str, float] = {}
    for printed, other in OTHER.items():
        rows = weighted[weighted["task_as_printed"] == printed]
        numbers[f"{printed}_rows"] = len(rows)
        for accuracy in (printed, other):
            off = (rows["recall"] - rows[f"{accuracy}_accuracy"]).abs()
            numbers[f"{printed}_rows_with_accuracy_of_{accuracy}"] = int((off <= 0.0051).sum())
    first = Finding(
        "C10",
        "arousal and valence are swapped: of the rows under arousal "
        f"{numbers['arousal_rows_with_accuracy_of_valence']} of {numbers['arousal_rows']} have the "
        f"accuracy of valence and {numbers['arousal_rows_with_accuracy_of_arousal']} that of "
        f"arousal; under valence {numbers['valence_rows_with_accuracy_of_arousal']} of "
        f"{numbers['valence_rows']} have that of arousal and "
        f"{numbers['valence_rows_with_accuracy_of_valence']} that of valence",
        numbers,
    )
    return [first, _swap_by_supports(weighted)]


def _swap_by_supports(weighted: pd.DataFrame) -> Finding:
    """C10 again: a model with one answer for all has the larger class's share as its recall."""
    shares = {task: majority_baseline("man", task)["accuracy"] for task in OTHER}
    macro = released_runs().query("average == 'macro' and recall == 0.5")
    keys = [*CELL, "task_as_printed"]
    constant = weighted.merge(macro[keys], on=keys)
    constant = constant[
        constant["pairing"].str.endswith("2man") & constant["task_as_printed"].isin(OTHER)
    ]
    task = constant["task_as_printed"]
    from_own = (constant["recall"] - task.map(shares)).abs()
    from_other = (constant["recall"] - task.map(OTHER).map(shares)).abs()
    own, other = int((from_own < from_other).sum()), int((from_own > from_other).sum())
    return Finding(
        "C10",
        f"the class supports say the same: on CH-818 the larger class of arousal (Q1 + Q2 or "
        f"Q3 + Q4) has {shares['arousal']:.3f} of the segments, that of valence (Q1 + Q4 or "
        f"Q2 + Q3) {shares['valence']:.3f}; of {len(constant)} rows of a model that gives one "
        f"answer throughout {other} have the share of the other heading's task, {own} their own",
        {"rows": len(constant), "other": other, "own": own, **shares},
    )


def majority_baseline(music: str, task: str) -> dict[str, float]:
    """What always answering the largest class scores on the released test segments, in [0, 1].

    Raises:
        UserError: an unknown music set or task.
    """
    supports = released_supports()
    supports = supports[supports["music"] == music]
    known = next((name for name in TASKS if name == task), None)
    if supports.empty or known is None:
        raise UserError(f"{music} {task}: give eng or man, and one of {', '.join(TASKS)}")
    codes = supports["quadrant"].map(QUADRANT_CODES[known]).to_numpy()
    true = np.repeat(codes, supports["segments_in_test"].to_numpy())
    answer = np.full(len(true), np.bincount(true).argmax())
    scored = score(true, answer, known)
    f1 = {"macro_f1": scored.macro.f1, "weighted_f1": scored.weighted.f1}
    return {"accuracy": scored.accuracy, **f1}


def _majority(music: str) -> Finding:
    name = {"man": "CH-818", "eng": "4Q-Emotion"}[music]
    numbers: dict[str, float] = {}
    for task in TASKS:
        for figure, value in majority_baseline(music, task).items():
            numbers[f"{task}_{figure}"] = round(value, 3)
    said = "; ".join(
        f"{task} accuracy {numbers[f'{task}_accuracy']:.3f}, "
        f"macro F {numbers[f'{task}_macro_f1']:.3f}, weighted F {numbers[f'{task}_weighted_f1']:.3f}"
        for task in TASKS
    )
    return Finding("C22", f"always answering the largest class of {name} scores: {said}", numbers)


def format_findings(findings: list[Finding]) -> str:
    """The findings as lines for the screen."""
    return "\n".join(f"{finding.row:4} {finding.sentence}" for finding in findings)
