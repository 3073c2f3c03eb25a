"""How far any table's raters agree: a row a value and group, as text, JSON or objects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recitative.agreement.alpha import Level, Resampled, alpha_from_long, alpha_interval
from recitative.agreement.ratings import Ratings
from recitative.seeding import derive_rng

Row = dict[str, Any]


def analyse(
    ratings: Ratings,
    level: Level = "ordinal",
    *,
    seed: int,
    draws: int = 1000,
    resampled: Resampled = "both",
    jobs: int = 1,
) -> list[Row]:
    """Alpha of every value, for every group and for all together.

    Every row has its own stream of the root `seed`, so that one more shifts no other. 0 `draws` give
    no intervals; `jobs` threads change nothing but the time.

    Returns:
        A row for each group and value, groups in order and ``all`` last:

        - ``emotion``: the value's column; ``language``: the group, ``all`` where not split;
          ``by``: the column that splits; ``filter``: as typed, ``none`` without;
        - ``alpha``, and ``low`` and ``high`` of its 95 % interval, None where undefined;
        - ``level``, ``resampled``;
        - ``ratings``: answers that the filter kept, of them ``unpaired`` alone on their unit and so
          in no pair; ``raters`` and ``units`` with an answer;
        - ``note``: why alpha is undefined, or None.
    """
    names = [*ratings.groups, "all"] if ratings.by else ["all"]
    return [
        _row(ratings, name, column, level, seed, draws, resampled, jobs)
        for name in names
        for column in ratings.values
    ]


def _row(
    ratings: Ratings, name: str, column: str, level: Level, seed: int, draws: int,
    resampled: Resampled, jobs: int,
) -> Row:  # fmt: skip
    part = ratings if name == "all" else ratings.of_group(name)
    given = ~np.isnan(part.values[column])
    rater, unit, value = part.rater[given], part.unit[given], part.values[column][given]
    company = np.bincount(unit)[unit] > 1 if len(unit) else np.zeros(0, dtype=np.bool_)
    alpha = alpha_from_long(rater, unit, value, level)
    rng = derive_rng(seed, "agreement", name, column, ratings.filter)
    interval = alpha_interval(
        rater, unit, value, level, resampled=resampled, rng=rng, draws=draws, jobs=jobs
    )
    low, high = interval or (None, None)
    return {
        "emotion": column, "language": name, "by": ratings.by, "filter": ratings.filter,
        "alpha": alpha, "low": low, "high": high, "level": level, "resampled": resampled,
        "ratings": len(value), "unpaired": int(np.count_nonzero(~company)),
        "raters": len(np.unique(rater)), "units": len(np.unique(unit)),
        "note": None if alpha is not None else _why_undefined(rater, value[company]),
    }  # fmt: skip


def _why_undefined(rater: Any, paired: Any) -> str:
    if len(np.unique(rater)) < 2:
        return "alpha is undefined: one rater" if len(rater) else "alpha is undefined: no rating"
    if not len(paired):
        return "alpha is undefined: no two raters share a unit"
    return f"alpha is undefined: no variation, every paired rating is {paired[0]:g}"


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a text table: a line a value, a column a group, alpha with its interval.

    Below it, what the intervals mean, the counts a group, and one line for every oddity.
    """
    groups = list(dict.fromkeys(row["language"] for row in rows))
    values = list(dict.fromkeys(row["emotion"] for row in rows))
    found = {(row["emotion"], row["language"]): row for row in rows}
    cells = [["", *groups]]
    cells += [[value, *(_cell(found[value, group]) for group in groups)] for value in values]
    return "\n".join([*align(cells), "", *_legend(rows, groups)])


def align(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        padded = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *padded)).rstrip()


def _cell(row: Mapping[str, Any]) -> str:
    if row["alpha"] is None:
        return "undefined"
    if row["low"] is None:
        return f"{row['alpha']:.3f}"
    return f"{row['alpha']:.3f} [{row['low']:.2f}, {row['high']:.2f}]"


def _legend(rows: Sequence[Row], groups: Sequence[str]) -> Iterator[str]:
    drawn = {"raters": "raters", "units": "units", "both": "raters and units"}[rows[0]["resampled"]]
    interval = (
        f"; [95 % interval, {drawn} resampled]"
        if any(row["low"] is not None for row in rows)
        else ""
    )
    yield f"Krippendorff's alpha, {rows[0]['level']}{interval}; filter: {rows[0]['filter']}"
    for group in groups:
        of_group = [row for row in rows if row["language"] == group]
        most = max(of_group, key=lambda row: int(row["ratings"]))
        total = sum(row["ratings"] for row in of_group)
        yield f"{group}: {total} ratings by {most['raters']} raters of {most['units']} units"
    for row in rows:
        where = f"{row['emotion']}, {row['language']}"
        if row["note"]:
            yield f"{where}: {row['note']}"
        if row["unpaired"]:
            yield (
                f"{where}: {row['unpaired']} of {row['ratings']} ratings stand alone on their unit "
                "and are in no pair"
            )
