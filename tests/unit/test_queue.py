"""A grid through DVC's queue: waited for, cleared of the dead, never by force; DVC is played."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from recitative.commands import grid as matrix
from recitative.errors import UserError

RUN = subprocess.run
TRACKED = {"params.yaml": "seed: 1\n", "notes.md": "first\n"}
STATUS = """\
Task     Name        Created    Status
ed24d12  grid-1      12:36 AM   Running
37b7192  grid-2      12:36 AM   Queued
d0b8811  vocal-hips  Nov 22, 2026  Success
81e6dee  grid-10     12:36 AM   Failed

Worker status: 1 active, 2 idle
"""


class Dvc:
    """DVC's queue as far as `matrix` sees it: each look at it ends one experiment."""

    def __init__(self, tasks: dict[str, tuple[str, str]], workers: int = 0, fails: str = ""):
        self.tasks, self.workers, self.fails = dict(tasks), workers, fails
        self.asked: list[tuple[str, ...]] = []
        self.looks = 0

    def __call__(self, *arguments: str, shown: bool = False) -> str:
        if arguments[:2] not in (("queue", "status"), ("queue", "logs")):
            self.asked.append(arguments)
        if arguments[:2] == ("exp", "run"):
            self.tasks |= {"n1": ("grid-1", "Queued"), "n2": ("grid-2", "Queued")}
        if arguments[:2] == ("queue", "remove"):
            for task in arguments[2:]:
                del self.tasks[task]
        if arguments[:2] == ("exp", "list"):
            return "grid-1\nlovely-name\ngrid-notes\n"
        if arguments[:2] == ("queue", "logs"):
            return "Running stage 'index':\n> x\nRunning stage 'transfer@eng-man':\n"
        if arguments[:2] == ("queue", "status"):
            return self._status()
        return ""

    def start(self, words: Sequence[str], **how: Any) -> Any:
        if words[0] == "git":
            return RUN(words, **how)
        self.asked.append(tuple(words[:3]) if words[0] == "recitative" else ("queue", "start"))
        self.workers = 1
        return None

    def _status(self) -> str:
        if self.workers:
            self._go_on()
        lines = [f"{id_}  {name}  12:00 AM  {status}" for id_, (name, status) in self.tasks.items()]
        return "\n".join(["Task Name Created Status", *lines, "", self._line()])

    def _go_on(self) -> None:
        for id_, (name, status) in self.tasks.items():
            if status == "Running":
                self.tasks[id_] = (name, "Failed" if name == self.fails else "Success")
                return
            if status == "Queued":
                self.tasks[id_] = (name, "Running")
                return

    def _line(self) -> str:
        return f"Worker status: {self.workers} active, 0 idle"


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    for name, text in TRACKED.items():
        (tmp_path / name).write_text(text)
    for words in ("init", "-q"), ("add", *TRACKED):
        RUN(["git", *words], check=True)

    def play(dvc: Dvc, meanwhile: Callable[[], object] = lambda: None) -> list[tuple[str, ...]]:
        monkeypatch.setattr(matrix, "_dvc", dvc)
        monkeypatch.setattr(matrix.subprocess, "run", dvc.start)
        matrix.run("grid", ("pretrain.arch=scae,cpc", "seed=3"), wait=lambda _: meanwhile())
        return dvc.asked

    return play


END = [("exp", "apply", "grid-1"), ("repro", "--force", "--single-item", "claims", "report")]
QUEUE = (
    "exp", "run", "--queue", "--name", "grid", "-S", "pretrain.arch=scae,cpc", "-S", "seed=3",
)  # fmt: skip


def test_the_status_is_read_by_its_words() -> None:
    status = matrix.read_status(STATUS)
    assert status.workers == 3
    assert [task.id for task in status.of("grid")] == ["ed24d12", "37b7192", "81e6dee"]
    assert [task.status for task in status.tasks] == ["Running", "Queued", "Success", "Failed"]
    assert matrix.read_status("No experiment tasks in the queue.\n").tasks == ()
    assert matrix.last_stage("nothing yet") is None


def test_a_grid_is_queued_waited_for_and_reported(played, capsys: pytest.CaptureFixture) -> None:
    asked = played(Dvc({"old": ("vocal-hips", "Success")}))
    assert asked == [
        ("exp", "list", "--name-only"), ("exp", "remove", "grid-1"), QUEUE, ("queue", "start"), *END,
    ]  # fmt: skip
    assert not any("--force" in words for words in asked[:-1]), "it would train everything anew"
    said = capsys.readouterr().out
    assert "0 of 2 done  grid-1: transfer@eng-man" in said
    assert "2 of 2 done  grid-2: Success" in said


def test_what_a_dead_worker_left_is_cleared_and_queued_again(played) -> None:
    asked = played(Dvc({"d1": ("grid-1", "Running"), "d2": ("grid-2", "Queued")}))
    assert asked[0] == ("queue", "kill", "--force", "d1")
    assert asked[1] == ("queue", "remove", "d1", "d2")
    assert QUEUE in asked
    assert asked[-2:] == END


def test_a_living_worker_is_left_to_go_on(played) -> None:
    asked = played(Dvc({"a1": ("grid-1", "Running"), "a2": ("grid-2", "Queued")}, workers=1))
    assert QUEUE not in asked
    assert asked == END


def test_a_failure_is_one_line_and_applies_nothing(played) -> None:
    dvc = Dvc({}, fails="grid-2")
    with pytest.raises(UserError, match="grid-2 failed; `dvc queue logs n2` says why"):
        played(dvc)
    assert END[0] not in dvc.asked


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("notes.md", lambda file: file.write_text("mine\n")),
        ("params.yaml", lambda file: file.unlink()),
        (
            "new.md",
            lambda file: (file.write_text("new\n"), RUN(["git", "add", "new.md"], check=True)),
        ),
    ],
)
def test_what_was_edited_meanwhile_is_not_touched(
    name: str,
    edit: Callable[[Path], object],
    played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`dvc exp apply` would revert it silently."""
    (tmp_path / "build/evaluate").mkdir(parents=True)
    (tmp_path / "build/evaluate/summary.csv").touch()
    (tmp_path / "notes.md").write_text("edited before: the grid has that too\n")
    once = iter([lambda: edit(tmp_path / name)])
    asked = played(Dvc({}), lambda: next(once, lambda: None)())
    assert not any(words[:2] == ("exp", "apply") for words in asked)
    assert asked[-2:] == [("recitative", "claims"), ("recitative", "report")]
    said = capsys.readouterr().out
    assert f"edited while the grid ran: {name}." in said
    assert "dvc exp apply grid-1" in said


def test_an_edit_counts_from_when_the_grid_was_queued(played, tmp_path: Path) -> None:
    """Killed, edited, and started again while the worker went on."""
    with pytest.raises(KeyboardInterrupt):
        played(Dvc({}), interrupt)
    (tmp_path / "params.yaml").write_text("seed: 2\n")
    with pytest.raises(UserError, match="no results in this workspace to report beside"):
        played(Dvc({"a1": ("grid-1", "Running"), "a2": ("grid-2", "Queued")}, workers=1))


def interrupt() -> None:
    raise KeyboardInterrupt


def test_two_at_once_are_refused(played, tmp_path: Path) -> None:
    (tmp_path / ".recitative").mkdir()
    with (
        matrix.FileLock(tmp_path / ".recitative" / "matrix.lock"),
        pytest.raises(UserError, match="another `recitative matrix` runs here"),
    ):
        played(Dvc({}))
