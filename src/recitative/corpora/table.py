"""Any corpus, as one CSV table: the way to bring one's own data in without writing an adapter.

Expected layout::

    <folder>/clips.csv     path, group, language, and for music and emotional speech quadrant, or
                           arousal and valence, or emotion (a category of the table `emotions`)

A path is relative to the table and may leave its folder. `language` is `eng` or `man`; rows in
another language than the role's are skipped, so that one table can serve several roles. The group
is whoever must not stand on both sides of a split: speaker or artist. Every column's name is a
parameter; columns that are not named are left alone. A quadrant that is given wins over numbers, and
numbers win over a category.
"""

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from recitative.corpora import layout
from recitative.corpora.base import Clip, Problem, register_dataset
from recitative.corpora.layout import Row, shown
from recitative.corpora.quadrants import NumericConfig, label_quadrants
from recitative.errors import UserError
from recitative.vocabulary import QUADRANTS


class TableConfig(NumericConfig):
    """A table: its file and the names of its columns."""

    table: str = "clips.csv"
    path_column: str = "path"
    group_column: str = "group"
    language_column: str = "language"
    quadrant_column: str = "quadrant"
    arousal_column: str = "arousal"
    valence_column: str = "valence"
    emotion_column: str = "emotion"


@register_dataset("table", TableConfig)
def iter_clips(root: Path, config: TableConfig) -> Iterator[Clip | Problem]:
    """Every row in the role's language whose file exists."""
    table = root / config.table
    needed = (config.path_column, config.group_column, config.language_column)
    if not os.path.isfile(table):
        expected = f"{config.table} with the columns {', '.join(needed)}"
        raise layout.missing_corpus("table", table, expected)
    rows, columns = layout.read_table(table, needed)
    numbers = (config.arousal_column, config.valence_column)
    if any(column in columns for column in numbers):
        layout.require_columns(table, columns, numbers)
    chosen = [row for row in rows if row.cells[config.language_column] == config.language]
    if not chosen:
        languages = sorted({row.cells[config.language_column] for row in rows})
        raise UserError(
            f"{table}: no row has {config.language_column} {config.language!r}; "
            f"it has: {', '.join(repr(shown(name)) for name in languages[:9]) or 'no rows'}"
        )
    clips = []
    for row in chosen:
        try:
            clips.append(_read_clip(root, row, config))
        except ValueError as error:
            yield Problem(str(table), str(error))
    labelled = label_quadrants(layout.in_order(clips), config)
    yield from layout.group_ungrouped(labelled, config.group_column, table)


def _read_clip(root: Path, row: Row, config: TableConfig) -> Clip:
    """One row as a clip; ValueError, naming the row, where its file or its label is wrong."""
    name = row.cells[config.path_column]
    if not os.path.isfile(root / name):  # no exception, however long the name
        raise ValueError(f"row {row.line}: {config.path_column} {shown(name)!r} is not a file")
    quadrant = row.cells.get(config.quadrant_column) or None
    if quadrant is not None and quadrant not in QUADRANTS:
        what = f"{config.quadrant_column} is {shown(quadrant)!r}"
        raise ValueError(f"row {row.line}: {what}, not Q1 … Q4")
    arousal = valence = None
    # One number without the other is a fault; neither is a clip without numbers.
    if row.cells.get(config.arousal_column) or row.cells.get(config.valence_column):
        arousal = row.number(config.arousal_column)
        valence = row.number(config.valence_column)
    return Clip(
        id=f"table/{posixpath.normpath(name)}",
        path=root / name,
        group=layout.group_name(row.cells[config.group_column]),
        language=config.language,
        quadrant=quadrant,
        arousal=arousal,
        valence=valence,
        emotion=row.cells.get(config.emotion_column, "").lower() or None,
    )
