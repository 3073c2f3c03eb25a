"""Whole or not at all: what a reader finds is what was there, or all of what is new."""

import csv
import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

import tiny
from recitative.errors import UserError
from recitative.files import (
    FORMULA,
    atomic_folder,
    atomic_path,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from recitative.models import storage

FAULTS = [
    KeyboardInterrupt(),
    SystemExit(1),
    ValueError("planted"),
    OSError(errno.EIO, "planted"),
]


def fail(atomic: Callable[[Path], Any], path: Path, fault: BaseException) -> None:
    """Write half of what was to be written, and die."""
    with atomic(path) as temporary:
        (temporary / "file" if temporary.is_dir() else temporary).write_text("half")
        raise fault


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, the hidden ones too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.mark.parametrize("name", ["out.csv", "späte Töne 声.json", "no-suffix", "a.b.tar.gz"])
def test_a_file_appears_when_the_block_ends(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        if path.suffix:  # numpy appends one where it misses it
            assert temporary.suffix == path.suffix
        assert temporary.parent == path.parent  # a rename across file systems is a copy
    assert content(tmp_path / "new") == {name: "whole"}


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("before", [None, "old"])
def test_a_fault_leaves_the_file_as_it_was(
    fault: BaseException, before: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    if before:
        path.write_text(before)
    with pytest.raises(type(fault)) as caught:
        fail(atomic_path, path, fault)
    assert caught.value is fault
    assert content(tmp_path) == ({"out.csv": before} if before else {})


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "role"
    for text in ("first", "second"):
        with atomic_folder(folder) as temporary:
            (temporary / text).write_text(text)
            (temporary / "deep").mkdir()
            (temporary / "deep" / "file").write_text(text)
    assert content(tmp_path) == {"role/deep/file": "second", "role/second": "second"}


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("before", [None, "old"])
def test_a_fault_leaves_the_folder_as_it_was(
    fault: BaseException, before: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "role"
    if before:
        folder.mkdir()
        (folder / "file").write_text(before)
    with pytest.raises(type(fault)) as caught:
        fail(atomic_folder, folder, fault)
    assert caught.value is fault
    assert content(tmp_path) == ({"role/file": before} if before else {})


def test_what_a_killed_process_left_is_cleared_and_a_living_ones_is_not(tmp_path: Path) -> None:
    gone = 2**22 + 1  # above the kernel's largest pid
    for name in (f".role.{gone}.partial", f".role.{os.getppid()}.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("half")
    (tmp_path / f".role.x.{gone}.partial").mkdir()  # of a folder of another name, role.x
    with atomic_folder(tmp_path / "role"):
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert f".role.{gone}.partial" not in names
    assert f".role.{os.getppid()}.partial" in names


FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    # What safetensors raises on a full disk: its own type, the system's words.
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("fault", FULL, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_full_disk_is_one_line_that_says_so(
    atomic: Callable[[Path], Any], fault: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "out.npy"
    with pytest.raises(UserError) as caught:
        fail(atomic, path, fault)
    assert str(caught.value) == f"{path}: the disk is full; free some space and run again"
    assert content(tmp_path) == {}


def test_a_full_disk_inside_a_folder_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"role.*/weights: the disk is full"),
        atomic_folder(tmp_path / "role") as folder,
        atomic_path(folder / "weights"),
    ):
        raise FULL[0]
    assert content(tmp_path) == {}


def test_a_disk_that_is_full_while_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_file(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise FULL[1]

    monkeypatch.setattr(storage, "save_file", save_file)
    with pytest.raises(UserError, match="disk is full"):
        storage.save_weights(tmp_path / "model.safetensors", tiny.pretraining_model("scae"))
    assert content(tmp_path) == {}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan(number: float, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"f1": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"f1": [number]})
    assert content(tmp_path) == {"metrics.json": '{\n  "f1": 0.5\n}\n'}


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"name": "东方红", "lowest": 0.1 + 0.2, "leaks": [], "nested": {"none": None}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "东方红" in text
    assert json.loads(text) == value


def test_csv_round_trip(tmp_path: Path) -> None:
    rows = [{"id": 'a "b", c\nd', "x": 1.5, "y": None}, {"id": "声", "x": 0.1 + 0.2, "y": ""}]
    write_csv(tmp_path / "a.csv", ("id", "x", "y"), iter(rows))
    assert (tmp_path / "a.csv").read_bytes().startswith(b"id,x,y\n")
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    assert read_csv(tmp_path / "a.csv") == [
        {"id": 'a "b", c\nd', "x": "1.5", "y": ""},
        {"id": "声", "x": "0.30000000000000004", "y": ""},
    ]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+49 30 1", "'+49 30 1"),
        ("-M-", "'-M-"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("-3.5", "-3.5"),
        (-3.5, "-3.5"),
        ("+1e-6", "+1e-6"),
        ("'til Tuesday", "'til Tuesday"),
        ("a=b", "a=b"),
        ("", ""),
        (None, ""),
    ],
)
def test_no_cell_is_a_formula(cell: Any, written: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ("id", "x"), [{"id": cell, "x": 1}])
    with path.open(newline="") as text:
        assert next(csv.DictReader(text))["id"] == written
    assert read_csv(path) == [{"id": "" if cell is None else str(cell), "x": "1"}]


beginning = st.text("'=+-@\t\r\n 1e.", max_size=4)


@given(st.lists(st.tuples(st.builds(str.__add__, beginning, st.text(max_size=3)), st.floats())))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    texts = [text.encode("utf-8", "ignore").decode().replace("\0", "") for text, _ in rows]
    write_csv(path, ("x", "id"), [{"x": x, "id": t} for t, (_, x) in zip(texts, rows, strict=True)])
    assert [row["id"] for row in read_csv(path)] == texts
    with path.open(newline="", encoding="utf-8") as raw:
        for row in csv.DictReader(raw):
            assert row["id"][:1] not in FORMULA or float(row["id"]) is not None


def test_a_row_with_an_unknown_column_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="typo"):
        write_csv(tmp_path / "a.csv", ("id",), [{"id": 1}, {"id": 2, "typo": 3}])
    assert content(tmp_path) == {}
