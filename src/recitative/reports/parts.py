"""What the page's tables and figures show, as rows, lines and positions in percent of a panel."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from recitative.evaluation.comparisons import NO_PRETRAINING
from recitative.reports import matrix, results
from recitative.reports.results import Cell

Confusions = Mapping[str, Mapping[str, Sequence[Sequence[int]]]]


def every_score(cells: Sequence[Cell], music: str) -> dict[str, list[Cell]]:
    """The cells of one music set, grouped as `results.grouped`, of each experiment in turn."""
    keys = dict.fromkeys((cell.arch, cell.experiment) for cell in cells)
    found = {}
    for arch, experiment in keys:
        there = [cell for cell in cells if (cell.arch, cell.experiment) == (arch, experiment)]
        named = f"{matrix.series_name(arch, experiment, cells)}: " if len(keys) > 1 else ""
        for group, members in results.grouped(there, music).items():
            found[f"{named}{group}"] = members
    return found


def highest(cells: Sequence[Cell]) -> dict[tuple[str, str, str], float]:
    """The highest F of each music set, task and average."""
    found: dict[tuple[str, str, str], float] = {}
    for cell in cells:
        for column, scores in cell.scores.items():
            key = (cell.music, *column)
            found[key] = max(found.get(key, 0.0), scores.f1)
    return found


def left_out(missing: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """The music sets that lack a control, by its name and the reason: each is said once."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for music, names in missing.items():
        for reason in names.items():
            found[reason].append(music)
    return dict(found)


def confusion_panels(
    confusions: Confusions, cells: Sequence[Cell], music: str
) -> dict[str, dict[str, Sequence[Sequence[int]]]]:
    """Matrices of one music set by mode and name: its pairings, then the control of that mode."""
    panels: dict[str, dict[str, Sequence[Sequence[int]]]] = defaultdict(dict)
    for group, members in results.grouped(cells, music).items():
        for cell in members if group != results.OTHER_CONTROLS else ():
            if cell.mode in confusions.get(cell.pairing, {}):
                panels[group][cell.name] = confusions[cell.pairing][cell.mode]
    return dict(panels)


def power_lines(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curve of power in percent of a panel, a line a number of repeats; songs on a log axis.

    Of rows of power.csv: songs, repeats, and the smallest difference in points that is found with
    80 % power. What is out of reach has no number and is left out. Empty where there is nothing.
    """
    held = [row for row in rows if isinstance(row["points"], float)]
    songs = sorted({row["songs"] for row in held})
    if len(songs) < 2:
        return {}
    top = 10 * max(1, math.ceil(max(row["points"] for row in held) / 10))
    span = math.log(songs[-1] / songs[0])
    lines: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(held, key=lambda row: (row["repeats"], row["songs"])):
        x = 100 * math.log(row["songs"] / songs[0]) / span
        lines[int(row["repeats"])].append(
            dict(row) | {"x": x, "y": 100 - 100 * row["points"] / top}
        )
    ticks = [(songs[0], 0.0), (songs[-1], 100.0)]
    for tick in (30, 100, 300, 1000, 3000):
        at = 100 * math.log(tick / songs[0]) / span
        if 0 < at < 90 and all(abs(at - other) > 8 for _, other in ticks):
            ticks.append((tick, at))
    return {"lines": dict(lines), "ticks": sorted(ticks), "top": top}


def truth_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line an effect, architecture and claim of truth.json; its seeds side by side."""
    lines: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        lines[row["effect"], row["arch"], row["claim"], row["expected"]].append(row)
    names = ("effect", "arch", "claim", "expected")
    return [
        dict(zip(names, key, strict=True))
        | {"seeds": found, "right": sum(r["right"] for r in found)}
        for key, found in lines.items()
    ]


def curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Lines and marks of the pretraining curves in percent of a panel, one loss axis for all."""
    if not histories:
        return []
    losses = [
        row[f"{part}_loss"]
        for history in histories.values()
        for row in history
        for part in ("train", "validation")
    ]
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    panels = []
    for language, history in histories.items():
        last = max(row["epoch"] for row in history) or 1

        def place(row: Mapping[str, float], part: str, last: float = last) -> tuple[float, float]:
            x = 100 * row["epoch"] / last
            return x, 94 - 88 * (row[f"{part}_loss"] - low) / span

        best = [row for row in history if row["best"]][-1]
        panels.append(
            {
                "language": language,
                "epochs": len(history),
                "lines": {
                    part: " ".join("{:.2f},{:.2f}".format(*place(row, part)) for row in history)
                    for part in ("train", "validation")
                },
                "best": place(best, "validation"),
                "best_epoch": int(best["epoch"]) + 1,
                "best_loss": best["validation_loss"],
                "low": low,
                "high": high,
            }
        )
    return panels


def earlier_table(
    earlier: Sequence[Mapping[str, Any]], present: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A line a version and transfer mode: F by pairing, and of the control without pretraining.

    Of rows of `tracking.past_runs.earlier_results`, among them the `present` run's.
    """
    named = ("experiment", "protocol", "arch", "dvc_experiment", "certificate_hash")
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    here = {id(row) for row in present}
    for row in earlier:
        for mode, control in NO_PRETRAINING.items():
            if row["transfer_mode"] not in (mode, control):
                continue
            key = (*(str(row[name]) for name in named), mode)
            line = lines.setdefault(
                key,
                {name: row[name] for name in named}
                | {"transfer_mode": mode, "present": False, "f1": {}},
            )
            line["f1"][row["pairing"]] = row["f1"]
            line["present"] |= id(row) in here
    return list(lines.values())
