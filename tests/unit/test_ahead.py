"""What is made is published, and stays until DVC must have it in its cache: no training is lost."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from recitative.experiment import places as workspace
from recitative.experiment.work import make_and_publish
from recitative.files import write_json


@dataclass(frozen=True)
class Made:
    name: str
    key: str = "k"

    @property
    def out(self) -> Path:
        return Path("build") / self.name


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In a workspace of its own; whatever is made is noted here."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    monkeypatch.setattr(workspace, "project_root", lambda: tmp_path)
    return []


def run(made: list[str], mine: Made, *others: Made) -> None:
    def make(items: dict[Made, Path]) -> None:
        for item, folder in items.items():
            made.append(item.name)
            (folder / "checkpoint").write_text("heavy")
            (folder / "result").mkdir()
            write_json(folder / "result" / "run.json", {"key": item.key, "run_id": item.name})

    make_and_publish(mine, others, make)


def left() -> set[str]:
    work = workspace.project_root() / ".recitative" / "work"
    return {path.name for path in work.iterdir() if path.is_dir()}


def test_a_kill_between_a_stage_and_dvcs_cache_costs_no_training(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Made("one"), Made("two")
    run(made, one, two)
    assert made == ["one", "two"]
    assert not list((tmp_path / ".recitative" / "work").rglob("checkpoint"))[1:]  # two's alone
    # Killed here, the experiment's folder with it: another one goes on.
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    run(made, one, two)
    run(made, two)
    assert made == ["one", "two"]
    assert (one.out / "run.json").exists()
    assert (two.out / "run.json").exists()


def test_what_dvc_has_by_now_is_cleared(made: list[str]) -> None:
    one, two = Made("one"), Made("two")
    run(made, one, two)
    run(made, two)  # DVC runs a stage when it has the one before in its cache
    assert left() == {"two-k"}
    run(made, Made("three"))
    assert left() == {"three-k"}


def test_what_another_workspace_left_stays_for_a_week(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(made, Made("one"))
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    run(made, Made("two"))
    assert left() == {"one-k", "two-k"}
    monkeypatch.setattr(workspace, "_KEPT", -1.0)
    run(made, Made("three"))
    assert left() == {"three-k"}
