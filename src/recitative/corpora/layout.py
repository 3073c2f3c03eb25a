"""What lies in a corpus's folder: its audio files in a stable order, and its tables.

Names only: no audio file is opened here.
"""

import csv
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recitative.corpora.base import Clip, MissingDataError, Problem
from recitative.errors import UserError

AUDIO_SUFFIXES = frozenset({".flac", ".wav", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".m4a"})


def missing_corpus(name: str, where: Path, layout: str) -> MissingDataError:
    """The error for a corpus that is not at `where`: what was expected, and the command to run."""
    return MissingDataError(
        f"{where}: no {name} corpus there; expected {layout}; "
        "bring it in with `make use-data DATA=PATH`, PATH being the folder that holds the corpora"
    )


def natural_key(text: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key in which numbers count as numbers: 2.mp3 comes before 10.mp3."""
    parts = re.split(r"(\d+)", text)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), text


def audio_files(folder: Path) -> list[Path]:
    """Every audio file below `folder` (linked folders too), by name, in natural order.

    Raises:
        UserError: a folder may not be read; its files would be missing without a word.
    """
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=_refuse, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in AUDIO_SUFFIXES
    ]
    return sorted(found, key=lambda path: natural_key(path.as_posix()))


def _refuse(error: OSError) -> None:
    """Turn a closed folder into an error; one that is not there simply has no files."""
    if isinstance(error, PermissionError):
        raise UserError(f"{error.filename}: this folder may not be read; open it with chmod u+rx")


@dataclass(frozen=True)
class Row:
    """One row of a corpus's table: its line in the file (the header is line 1) and its cells."""

    line: int
    cells: dict[str, str]  # stripped

    def number(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """The cell as a finite number in [`low`, `high`].

        Raises:
            ValueError: it is none; the message names line, column and value.
        """
        text = self.cells[column]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"row {self.line}: {column} is {shown(text)!r}, not a number")
        if not low <= value <= high:
            raise ValueError(
                f"row {self.line}: {column} is {text}, outside the scale [{low:g}, {high:g}]"
            )
        return value


def read_table(
    path: Path, columns: Iterable[str], encoding_errors: str = "strict"
) -> tuple[list[Row], list[str]]:
    """A CSV table's rows, empty lines left out, and the columns it has.

    The file is comma-separated, in UTF-8 with or without a byte order mark, and must have `columns`.
    `encoding_errors` says what happens to bytes that are no UTF-8, as in `open`.

    Raises:
        UserError: the table is not there, is no UTF-8, lacks a column (the present ones are listed),
            has one twice, or a row has more or fewer cells than the header.
    """
    if not os.path.isfile(path):  # a pipe is none; no exception, however long the name
        raise UserError(f"{shown(str(path))}: no such file; name a table")
    try:
        with path.open(newline="", encoding="utf-8-sig", errors=encoding_errors) as text:
            reader = csv.reader(text, skipinitialspace=True, strict=True)
            present = [name.strip() for name in next(reader, [])]
            stripped = ([cell.strip() for cell in cells] for cells in reader)
            rows = [(reader.line_num, cells) for cells in stripped if any(cells)]
    except UnicodeDecodeError as error:
        where = f"{path}: not UTF-8 (byte {error.start})"
        raise UserError(f"{where}; save the table as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV table: {error}") from error
    if twice := [name for name in present if name and present.count(name) > 1]:
        raise UserError(f"{path}: two columns are named {twice[0]!r}; rename one")
    require_columns(path, present, columns)
    table = []
    for line, cells in rows:
        while len(cells) > len(present) and not cells[-1]:  # as spreadsheets leave them
            cells.pop()
        if len(cells) != len(present):
            raise UserError(
                f"{path}: line {line}: {len(cells)} cells, the header has {len(present)}; "
                "mend the row (a comma inside a cell needs quotes around the cell)"
            )
        table.append(Row(line, dict(zip(present, cells, strict=True))))
    return table, present


def shown(text: str) -> str:
    """A cell as a message shows it: not at full length where that is absurd."""
    return text if len(text) <= 100 else f"{text[:60]}… ({len(text)} characters)"


def require_columns(path: Path, present: Sequence[str], columns: Iterable[str]) -> None:
    """Raise UserError, naming the file and the columns it has, where one of `columns` is absent."""
    there = ", ".join(present) or "no columns"
    for column in columns:
        if column not in present:
            raise UserError(f"{path}: no column {column!r}; it has: {there}")


def group_ungrouped(
    items: Iterable[Clip | Problem], what: str, where: Path
) -> Iterator[Clip | Problem]:
    """Give each clip without a group itself as its group, and say once how many there are.

    A clip that stands for its own group can be parted from another clip of the same artist, so the
    user must know: split by artist is then split by song. Problems pass, ahead of the clips.
    """
    clips = []
    for item in items:
        if isinstance(item, Clip):
            clips.append(item)
        else:
            yield item
    if ungrouped := sum(not clip.group for clip in clips):
        yield Problem(
            str(where),
            f"{ungrouped} of {len(clips)} clips have no {what}; each is its own group, "
            "so that the split by group is a split by clip for them",
            kept=True,
        )
    for clip in clips:
        yield clip if clip.group else replace(clip, group=clip.id)


def in_order(clips: Iterable[Clip]) -> list[Clip]:
    """Clips by id, in natural order."""
    return sorted(clips, key=lambda clip: natural_key(clip.id))


def group_name(text: str) -> str:
    """A name from a table as a group: runs of white space count as one blank."""
    return " ".join(text.split())
