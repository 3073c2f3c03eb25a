"""Whole or not at all: every output is written to a temporary name beside it and renamed."""

import csv
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from recitative.errors import UserError
from recitative.processes import lives

FORMULA = tuple("=+-@\t\r\n")  # what a cell begins with that a spreadsheet runs


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file name beside `path`; renamed to it when the block ends well, removed else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if _disk_is_full(error):
            raise UserError(f"{path}: the disk is full; free some space and run again") from error
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        if not lives(int(left.suffixes[-2][1:])):  # of a process that was killed
            shutil.rmtree(left)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if _disk_is_full(error):
            raise UserError(f"{folder}: the disk is full; free some space and run again") from error
        raise


@cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="recitative-")


def temporary_folder() -> Path:
    """A new folder for what is fetched, removed when this process ends."""
    return Path(tempfile.mkdtemp(dir=_temporary().name))


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blake2b(path: Path) -> str:
    """Its BLAKE2b-128, hex: faster, where nobody would forge it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _disk_is_full(error: BaseException) -> bool:
    """Whether the system said so; safetensors passes its words on, in an error type of its own."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return os.strerror(errno.ENOSPC) in str(error)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON; NaN is refused, since it is no JSON."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` under a header of `columns`; None becomes an empty cell, a text `plain_cell`."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        # By its own line ending, \r\n, the writer knows that a cell with either needs quotes.
        lines = SimpleNamespace(write=lambda line: out.write(line.removesuffix("\r\n") + "\n"))
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows({name: plain_cell(row[name]) for name in row} for row in rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file that `write_csv` wrote, as one dictionary of strings a row."""
    return list(stream_csv(path))


def stream_csv(path: Path) -> Iterator[dict[str, str]]:
    """The same, holding one row at a time."""
    with path.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            yield {name: _as_written(cell) for name, cell in row.items()}


def plain_cell(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula, with an apostrophe before it; else `value`.

    Source: OWASP, CSV injection. Numbers, negative ones too, stay as they are; `read_csv` takes the
    apostrophe away again.
    """
    if isinstance(value, str) and value.lstrip("'")[:1] in FORMULA:
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    return value


def _as_written(cell: Any) -> Any:
    """What `plain_cell` was given; a row with too few or too many cells has other things than texts."""
    escaped = isinstance(cell, str) and cell.startswith("'") and plain_cell(cell[1:]) == cell
    return cell[1:] if escaped else cell
