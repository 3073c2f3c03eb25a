"""Tables of ratings, as people have them, to one entry a rater and unit.

A *long* table has a row for each rater and unit, and a column for each thing that was rated; a
*wide* one has a row for each unit, and a column for each rater (``Arousal_r01``, ``Arousal_r02``).
Everything is read as text first, so that a stray word among numbers is reported with its row and
not turned into a missing rating. Rows are counted from 1, without the header.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recitative.agreement.alpha import Floats, Ints, Level
from recitative.corpora.layout import read_table
from recitative.errors import UserError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})  # texts of no rating, any case
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
    "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class Ratings:
    """N entries: who rated what, and how, in one or more respects."""

    rater: Ints  # (N,) index into raters
    unit: Ints  # (N,) index into units
    values: dict[str, Floats]  # (N,) each; NaN where this rater did not answer
    raters: tuple[str, ...]
    units: tuple[str, ...]
    group: Ints  # (N,) index into groups; all 0 where not split
    groups: tuple[str, ...]  # ("all",) where not split
    by: str | None = None  # the column that groups come from
    filter: str = "none"  # as typed
    notes: tuple[str, ...] = ()  # what the filters kept, for the screen

    def of_group(self, name: str) -> "Ratings":
        """The entries of one group; the names of raters and units stay those of the whole."""
        kept = self.group == self.groups.index(name)
        return replace(
            self,
            rater=self.rater[kept],
            unit=self.unit[kept],
            values={column: value[kept] for column, value in self.values.items()},
            group=self.group[kept],
        )


@dataclass(frozen=True)
class Filter:
    """A condition on a column: ``understanding>=3``."""

    column: str
    operator: str  # a key of OPERATORS
    bound: str  # as typed; compared as a number where it is one
    text: str  # the whole condition, as typed


def parse_filter(text: str) -> Filter:
    """Read a condition: a column, one of >= <= == != > <, and a number or a text.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"\s*([^<>=!]+?)\s*(>=|<=|==|!=|>|<)\s*([^<>=!]+?)\s*", text)
    if not found:
        raise UserError(
            f"--filter {text!r} is no condition: write a column, one of {' '.join(OPERATORS)}, "
            "and a value, such as 'understanding>=3'"
        )
    return Filter(found[1], found[2], found[3], text.strip())


def read_ratings(
    path: Path,
    rater: Sequence[str],
    unit: str,
    values: Sequence[str],
    *,
    filters: Sequence[str] = (),
    by: str | None = None,
    scale: tuple[float, float] | None = None,
    level: Level = "ordinal",
) -> Ratings:
    """Read a long table: one row for each rater and unit.

    Args:
        path: a CSV file with a header; spaces after a comma are skipped.
        rater: the columns that together name a rater, e.g. language and user.
        unit: the column that names what was rated.
        values: the columns of ratings; an empty cell, NA or NaN is no rating.
        filters: conditions that a row must all meet; a row with an empty cell there does not.
        by: the column that splits the ratings into groups, in rising order of its texts.
        scale: the lowest and the highest rating that there can be.
        level: texts are ratings at the nominal level only.

    Returns:
        The ratings that the filters keep.

    Raises:
        UserError: the file cannot be read; a column is not there (those that are get listed); a
            filter keeps nothing; a rating is no number or outside the scale; a rater or a unit has
            no name; a rater rated a unit twice; there is one rater or one unit only.
    """
    table = _read_table(path)
    for option, columns in (("--rater", rater), ("--unit", [unit]), ("--values", values)):
        _require(path, table, option, columns)
    table, notes = _keep(path, table, filters, by, len(values))
    for column in (*rater, unit):
        _no_gaps(path, table, column)
    answers = {
        column: _numbers(path, table[column], column, scale, level)
        for column in dict.fromkeys(values)
    }
    groups, group = _groups(path, table, by)
    names = table[list(rater)].agg("/".join, axis=1).to_numpy(object)
    found = _assemble(names, table[unit].to_numpy(object), answers, group, groups)
    found = replace(found, by=by, filter=_typed(filters), notes=notes)
    return _checked(path, found, "/".join(rater), unit, table.index.to_numpy())


def read_wide(
    path: Path,
    patterns: Sequence[str],
    *,
    unit: str | None = None,
    filters: Sequence[str] = (),
    by: str | None = None,
    scale: tuple[float, float] | None = None,
    level: Level = "ordinal",
) -> Ratings:
    """Read a wide table: one row for each unit, one column for each rater.

    Args:
        path: a CSV file with a header.
        patterns: one for each thing rated, with one ``*`` that stands for the rater's name:
            ``Arousal_*``. The rest of it, without punctuation at its ends, names the value.
        unit: the column that names the unit; the row's number where None.
        filters: conditions on a row's other columns.
        by: a column that splits the units into groups.
        scale: as in `read_ratings`, as is `level`.
        level: the level of measurement.

    Returns:
        As `read_ratings`; an empty cell is no rating, and leaves no entry unless the rater gave
        another value for that unit.

    Raises:
        UserError: as `read_ratings`, or a pattern matches no column.
    """
    table = _read_table(path)
    _require(path, table, "--unit", [unit] if unit else [])
    found: dict[str, dict[str, str]] = {}  # value -> rater -> column
    for pattern in patterns:
        if pattern.count("*") != 1:
            raise UserError(f"--wide {pattern!r} needs one * where the rater's name stands")
        before, after = pattern.split("*")
        columns = [column for column in table.columns if fnmatchcase(column, pattern)]
        columns = [column for column in columns if column not in (unit, by)]
        if not columns:
            raise UserError(
                f"{path}: no column matches --wide {pattern!r}; it has: {', '.join(table.columns)}"
            )
        found[(before + after).strip(" _-.:/") or "value"] = {
            column[len(before) : len(column) - len(after)]: column for column in columns
        }
    raters = list(dict.fromkeys(name for columns in found.values() for name in columns))
    table, notes = _keep(path, table, filters, by, sum(map(len, found.values())))
    if unit:
        _no_gaps(path, table, unit)
    units = table[unit].tolist() if unit else [str(row + 1) for row in table.index]
    groups, group = _groups(path, table, by)
    answers = {}
    for value, chosen in found.items():
        grid = np.full((len(table), len(raters)), np.nan)
        given = [raters.index(name) for name in chosen]
        for position, column in zip(given, chosen.values(), strict=True):
            grid[:, position] = _numbers(path, table[column], column, scale, level)
        answers[value] = grid.ravel()
    rows = np.repeat(np.arange(len(table)), len(raters))
    given_at = ~np.all([np.isnan(value) for value in answers.values()], axis=0)
    ratings = _assemble(
        np.tile(np.asarray(raters, dtype=object), len(table))[given_at],
        np.asarray(units, dtype=object)[rows][given_at],
        {value: answer[given_at] for value, answer in answers.items()},
        group[rows][given_at],
        groups,
    )
    ratings = replace(ratings, by=by, filter=_typed(filters), notes=notes)
    return _checked(path, ratings, "column", unit or "row", table.index.to_numpy()[rows[given_at]])


def read_music_ratings(path: Path) -> Ratings:
    """Read the ratings of a music set as the index stage writes them: id, rater, arousal, valence.

    The values ``arousal`` and ``valence`` stay on the corpus's own scale. Raises as `read_ratings`.
    """
    return read_ratings(path, ["rater"], "id", ["arousal", "valence"], level="interval")


# ------------------------------------------------------------------------------------------------


def _read_table(path: Path) -> pd.DataFrame:
    rows, columns = read_table(path, ())
    if not rows:
        raise UserError(f"{path}: has a header and no ratings")
    return pd.DataFrame([row.cells for row in rows], columns=columns)


def _require(path: Path, table: pd.DataFrame, option: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in table.columns:
            raise UserError(
                f"{path}: {option}: no column {column!r}; it has: {', '.join(table.columns)}"
            )


def _keep(
    path: Path, table: pd.DataFrame, filters: Sequence[str], by: str | None, width: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that meet every filter, the original index kept, and a line on each filter."""
    _require(path, table, "--by", [by] if by else [])
    rows = len(table)
    notes = []
    for condition in map(parse_filter, filters):
        _require(path, table, f"--filter {condition.text!r}", [condition.column])
        before = len(table)
        table = table[_meets(path, table[condition.column], condition)]
        notes.append(
            f"filter {condition.text}: keeps {len(table)} of {before} rows, "
            f"{len(table) * width} of {before * width} ratings"
        )
    if table.empty:
        raise UserError(
            f"{path}: --filter {_typed(filters)!r} keeps none of the {rows} rows; loosen it"
        )
    return table, tuple(notes)


def _meets(path: Path, cells: "pd.Series[str]", condition: Filter) -> np.ndarray[Any, Any]:
    """Which cells meet the condition; a missing cell meets none."""
    present = ~cells.str.lower().isin(MISSING).to_numpy(dtype=bool)
    compare = OPERATORS[condition.operator]
    numbers = pd.to_numeric(cells.where(present, "nan"), errors="coerce").to_numpy(dtype=float)
    text = np.flatnonzero(present & np.isnan(numbers))
    try:
        bound = float(condition.bound)
    except ValueError:
        bound = None
    if condition.operator in ("==", "!=") and (bound is None or len(text)):
        return np.asarray(present & compare(cells.to_numpy(dtype=object), condition.bound))
    if bound is None:
        raise UserError(
            f"--filter {condition.text!r}: {condition.bound!r} is no number, and "
            f"{condition.operator} compares numbers"
        )
    if len(text):
        raise UserError(
            f"{path}: --filter {condition.text!r}: {condition.column} is "
            f"{cells.iloc[text[0]]!r} in row {int(cells.index[text[0]]) + 1}, no number"
        )
    return np.asarray(present & compare(numbers, bound))


def _no_gaps(path: Path, table: pd.DataFrame, column: str) -> None:
    empty = np.flatnonzero(table[column] == "")
    if len(empty):
        raise UserError(
            f"{path}: {column!r} is empty in row {int(table.index[empty[0]]) + 1}: every rating "
            "needs its rater and its unit"
        )


def _numbers(
    path: Path,
    cells: "pd.Series[str]",
    column: str,
    scale: tuple[float, float] | None,
    level: Level,
) -> Floats:
    """(N,) the cells as numbers, NaN where missing; texts become codes at the nominal level."""
    missing = cells.str.lower().isin(MISSING).to_numpy(dtype=bool)
    numbers = np.asarray(pd.to_numeric(cells.where(~missing, "nan"), errors="coerce"), dtype=float)
    text = np.flatnonzero(~missing & ~np.isfinite(numbers))
    if len(text) and level == "nominal" and len(text) == np.count_nonzero(~missing):
        code, _ = pd.factorize(cells.where(~missing, None), sort=True)
        return np.where(missing, np.nan, code.astype(np.float64))
    if len(text):
        raise UserError(
            f"{path}: {column} is {cells.iloc[text[0]]!r} in row {int(cells.index[text[0]]) + 1}, "
            "no number; correct it, or leave it empty for no rating"
        )
    if scale:
        low, high = scale
        outside = np.flatnonzero((numbers < low) | (numbers > high))
        if len(outside):
            raise UserError(
                f"{path}: {column} is {numbers[outside[0]]:g} in row "
                f"{int(cells.index[outside[0]]) + 1}, outside --scale {low:g},{high:g}"
            )
    return numbers


def _groups(path: Path, table: pd.DataFrame, by: str | None) -> tuple[tuple[str, ...], Ints]:
    if by is None:
        return ("all",), np.zeros(len(table), dtype=np.int64)
    _no_gaps(path, table, by)
    code, names = pd.factorize(table[by], sort=True)
    if "all" in names:
        raise UserError(
            f"{path}: a group of --by {by} is named 'all', which stands for the whole; rename it"
        )
    return tuple(map(str, names)), code.astype(np.int64)


def _typed(filters: Sequence[str]) -> str:
    return " and ".join(text.strip() for text in filters) or "none"


def _assemble(
    rater: np.ndarray[Any, Any], unit: np.ndarray[Any, Any], values: dict[str, Floats], group: Ints,
    groups: tuple[str, ...],
) -> Ratings:  # fmt: skip
    raters, rater_names = pd.factorize(rater, sort=True)
    units, unit_names = pd.factorize(unit, sort=True)
    return Ratings(
        raters.astype(np.int64), units.astype(np.int64), values, tuple(map(str, rater_names)),
        tuple(map(str, unit_names)), group, groups,
    )  # fmt: skip


def _checked(
    path: Path, ratings: Ratings, rater: str, unit: str, index: np.ndarray[Any, Any]
) -> Ratings:
    """Refuse what no agreement can be computed of; `index` is each entry's row, from 0."""
    pair = ratings.rater * len(ratings.units) + ratings.unit
    _, first, count = np.unique(pair, return_index=True, return_counts=True)
    if np.any(count > 1):
        at = first[np.flatnonzero(count > 1)[0]]
        rows = [str(int(index[row]) + 1) for row in np.flatnonzero(pair == pair[at])[:2]]
        raise UserError(
            f"{path}: {rater} {ratings.raters[ratings.rater[at]]!r} rates {unit} "
            f"{ratings.units[ratings.unit[at]]!r} in the rows {' and '.join(rows)}; keep one, or "
            "name every column that tells raters apart"
        )
    for names, what, option in ((ratings.raters, "rater", rater), (ratings.units, "unit", unit)):
        if len(names) < 2:
            only = f" ({names[0]!r} in {option})" if names else ""
            raise UserError(
                f"{path}: agreement needs two {what}s or more, and there is {len(names)}{only}"
            )
    return ratings
