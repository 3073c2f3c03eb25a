"""Tags that say which code made a run, and for which stage."""

import subprocess
from pathlib import Path

import pytest

from recitative.experiment.labels import provenance


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in no repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    for name in ("dvc.yaml", "data.dvc", "dvc.lock", "params.yaml"):
        (tmp_path / name).write_text("first\n")
    return tmp_path


def git(*arguments: str) -> None:
    named = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *named, *arguments], check=True, capture_output=True)


def code() -> tuple[str, str]:
    tags = provenance("transfer")
    return tags["git_sha"], tags["git_dirty"]


def test_what_dvc_itself_rewrites_makes_no_clone_dirty(folder: Path) -> None:
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    sha, dirty = code()
    assert len(sha) == 40
    assert dirty == "false"
    for name in ("data.dvc", "dvc.lock"):
        (folder / name).write_text("rewritten\n")
    assert code() == (sha, "false")
    (folder / "params.yaml").write_text("edited\n")
    assert code() == (sha, "true")


def test_without_a_repository_the_tags_say_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code() == ("none (no repository)", "unknown")
    monkeypatch.setenv("PATH", str(folder))
    assert code() == ("none (git is not installed)", "unknown")


def test_a_repository_around_the_project_is_not_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source archive that was unpacked inside somebody's repository."""
    git("init", "-q")
    git("commit", "-qm", "another's", "--allow-empty")
    assert code() == ("none (no repository)", "unknown")
    git("add", "dvc.yaml")
    git("commit", "-qm", "ours")
    assert len(code()[0]) == 40


def test_a_run_belongs_to_the_stage_that_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "transfer@eng-eng")  # which computes another's work ahead
    assert provenance("controls")["dvc_stage"] == "controls"
