"""Whose corpora data/ holds: no file of a user is ever overwritten, moved or deleted."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import yaml
from projects import Project, make_project

import trees
from recitative.commands import own_data
from recitative.errors import UserError

AUDIO = (".flac", ".wav", ".mp3")
pytestmark = pytest.mark.slow


def snapshot(folder: Path) -> dict[str, str]:
    """Every file's name and content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's corpora, beside things that are no corpus."""
    folder = tmp_path / "my corpora 歌"
    trees.grow(folder)
    (folder / "thesis.txt").write_text("not a corpus")
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Project:
    """A clone with DVC whose embedded corpus is a few small files, and whose index is their names."""
    project = make_project(tmp_path / "clone", tracked=True)
    embedded = tmp_path / "embedded"
    trees.librispeech(embedded, speakers=2)
    trees.aishell(embedded, speakers=2)
    trees.emotion_4q(embedded, artists=2)
    trees.ch818(embedded, artists=2)
    path = project.root / "dvc.yaml"
    stages = yaml.safe_load(path.read_text("utf-8"))["stages"]
    guarded = 'python -c "from recitative.experiment.repository import guard; guard()"'
    stages["corpus"] = {
        "cmd": f"{guarded} && mkdir -p build && cp -r {embedded} build/corpus",
        "params": ["demo"],
        "outs": ["build/corpus"],
    }
    stages["index"] = {
        "cmd": "mkdir -p build/index && find -L data -type f > build/index/files",
        "deps": ["data"],
        "params": ["datasets"],
        "outs": ["build/index"],
    }
    kept = {"stages": {name: stages[name] for name in ("corpus", "index")}}
    path.write_text(yaml.safe_dump(kept), "utf-8")
    project.shell("git", "commit", "-qam", "a small corpus")
    return project


def indexed(project: Project) -> set[str]:
    """The audio files that the stage after data.dvc sees, below data/."""
    project.shell("dvc", "repro")
    files = (project.root / "build/index/files").read_text("utf-8").splitlines()
    return {name.removeprefix("data/") for name in files if name.endswith(AUDIO)}


def audio(folder: Path) -> set[str]:
    return {name for name in snapshot(folder) if name.endswith(AUDIO)}


def test_an_unpacked_archive_without_git(clone: Project, mine: Path) -> None:
    shutil.rmtree(clone.root / ".git")
    assert "next: `dvc repro`" in clone.run("use-data", str(mine))
    assert (clone.root / "data" / "CH818" / "CH818_AV.csv").exists()
    assert clone.run("use-demo")
    for command in (("params",), ("index",), ("audit", "data")):
        error = clone.invoke(*command).exception
        assert error is None or isinstance(error, UserError)


def test_no_edit_of_a_tracked_file_is_reverted(clone: Project, mine: Path) -> None:
    edits = {"params.yaml": "# mine\n", ".gitignore": "my notes/\n", "dvc.yaml": "# mine\n"}
    for name, line in edits.items():
        with (clone.root / name).open("a", encoding="utf-8") as file:
            file.write(line)
    clone.run("use-data", str(mine))
    clone.run("use-demo")
    for name, line in edits.items():
        assert line in (clone.root / name).read_text("utf-8"), name


def test_there_and_back_and_there_again(clone: Project, mine: Path, tmp_path: Path) -> None:
    before = snapshot(mine)
    corpora = {name: digest for name, digest in before.items() if name != "thesis.txt"}
    embedded = snapshot(tmp_path / "embedded")
    data = clone.root / "data"
    assert indexed(clone) == audio(tmp_path / "embedded")

    told = clone.run("use-data", str(mine))
    assert "next: `dvc repro`" in told
    assert snapshot(data) == corpora
    for name in corpora:
        linked = os.path.samefile(data / name, mine / name)
        assert linked or "reflinked" in told, name
    cached = [path for path in clone.root.glob(".dvc/cache/files/md5/*/*") if path.is_file()]
    if "hard-linked" in told:  # the user's file, data/ and DVC's cache are one file
        inodes = {path.stat().st_ino for path in cached}
        assert {(mine / name).stat().st_ino for name in corpora} <= inodes
    assert indexed(clone) == audio(mine)
    again = clone.shell("dvc", "repro").stdout
    assert "Running stage" not in again

    clone.set(**{"datasets.music-man.threshold": "mean", "demo.seed": 7})
    assert indexed(clone) == audio(mine)  # though the embedded corpus was made anew
    assert snapshot(data) == corpora

    told = clone.run("use-demo")
    assert "data.kept" in told
    assert snapshot(clone.root / "data.kept") == corpora
    assert indexed(clone) == audio(tmp_path / "embedded")
    assert snapshot(data) == embedded

    clone.run("use-data", str(mine))
    assert indexed(clone) == audio(mine)
    clone.run("use-data", "data.kept")
    assert snapshot(data) == snapshot(clone.root / "data.kept") == corpora
    clone.run("use-demo")
    assert {path.name for path in clone.root.glob("data.kept*")} == {
        "data.kept", "data.kept2", "data.kept3",
    }  # fmt: skip
    assert snapshot(mine) == before
    ignored = clone.shell("git", "status", "--porcelain", "--untracked-files=all").stdout
    assert "data.kept" not in ignored
    assert not list(clone.root.glob(".data*.partial"))


def test_files_put_into_data_by_hand_stop_everything_and_stay(clone: Project, mine: Path) -> None:
    """DVC alone would delete them: `persist` makes it ask, and there is nobody to answer."""
    indexed(clone)
    data = clone.root / "data"
    precious = data / "CH818" / "ch818_mp3" / "my only recording.mp3"
    precious.write_bytes(b"unique")
    edited = data / "CH818" / "CH818_AV.csv"
    text = edited.read_text("utf-8") + "./my only recording.mp3,1,1\n"
    edited.unlink()
    edited.write_text(text, "utf-8")

    refused = clone.shell("dvc", "repro", check=False)
    assert refused.returncode
    assert "without a confirmation" in refused.stderr
    clone.set(**{"demo.seed": 8})  # now the embedded corpus would be made and copied anew
    refused = clone.shell("dvc", "repro", check=False)
    assert refused.returncode
    assert "not known to DVC" in refused.stderr + refused.stdout
    for command in (("use-data", str(mine)), ("use-demo",)):
        line = str(clone.invoke(*command).exception)
        assert line.startswith("data/CH818/")
        assert "(2 such files): it may be the only copy" in line
        assert "\n" not in line
    assert precious.read_bytes() == b"unique"
    assert edited.read_text("utf-8") == text

    clone.run("use-data", "data")  # the way out that the message names
    told = clone.shell("dvc", "repro").stdout
    assert "Importing" not in told
    assert precious.read_bytes() == b"unique"
    clone.run("use-demo")
    assert (clone.root / "data.kept" / precious.relative_to(data)).read_bytes() == b"unique"


@pytest.mark.parametrize("hashed", [False, True])
def test_a_clone_whose_data_was_filled_by_hand_first(
    hashed: bool, clone: Project, mine: Path, tmp_path: Path
) -> None:
    """Before any `dvc repro`; with hashes in data.dvc, too, as somebody may have committed them."""
    if hashed:
        indexed(clone)
        for name in ("data", "build", ".dvc/cache", ".dvc/tmp"):
            shutil.rmtree(clone.root / name)
        (clone.root / "dvc.lock").unlink()
    shutil.copytree(mine, clone.root / "data")
    before = snapshot(clone.root / "data")
    refused = clone.shell("dvc", "repro", check=False)
    assert refused.returncode
    assert "not known to DVC" in refused.stderr + refused.stdout
    assert snapshot(clone.root / "data") == before
    clone.run("use-data", "data")
    assert indexed(clone) == audio(mine)
    assert snapshot(clone.root / "data") == before


def test_the_stage_that_makes_the_corpus_asks_first(clone: Project, mine: Path) -> None:
    shutil.copytree(mine, clone.root / "data")
    result = clone.invoke("corpus")
    assert isinstance(result.exception, UserError)
    assert "not known to DVC" in str(result.exception)
    assert not (clone.root / "build").exists()


def test_what_is_no_folder_of_corpora_is_refused(clone: Project, tmp_path: Path) -> None:
    indexed(clone)
    before = snapshot(clone.root / "data")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "photos").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name, said in {
        "nowhere": "no such folder",
        "file": "no such folder",
        "empty": "none of CH818, LibriSpeech, MER_audio_taffc_dataset, data_aishell is in it",
        "other": "none of CH818",
    }.items():
        result = clone.invoke("use-data", str(tmp_path / name))
        assert isinstance(result.exception, UserError), name
        assert str(result.exception).startswith(f"{tmp_path / name}: {said}")
    assert snapshot(clone.root / "data") == before
    assert "build/corpus" in (clone.root / "data.dvc").read_text("utf-8")


def test_one_corpus_alone_is_taken_and_the_others_are_named(clone: Project, tmp_path: Path) -> None:
    trees.librispeech(tmp_path / "some")
    told = clone.run("use-data", str(tmp_path / "some"))
    for name in ("CH818", "MER_audio_taffc_dataset", "data_aishell"):
        assert f"note: {name} is not there" in told
    failed = clone.invoke("index").exception
    assert isinstance(failed, UserError)
    assert "data_aishell" in str(failed)
    assert audio(clone.root / "data") == audio(tmp_path / "some")


def test_links_in_the_users_tree(clone: Project, mine: Path, tmp_path: Path) -> None:
    """Linked corpora are followed, a circle is walked once, a link to nothing is told."""
    elsewhere = tmp_path / "another disk"
    (mine / "LibriSpeech").rename(elsewhere)
    (mine / "LibriSpeech").symlink_to(elsewhere)
    (elsewhere / "train-clean-100" / "up").symlink_to(elsewhere)
    clone.run("use-data", str(mine))
    assert audio(clone.root / "data") == {
        name for name in audio(mine) | {f"LibriSpeech/{n}" for n in audio(elsewhere)}
    }
    before = snapshot(clone.root / "data")
    (elsewhere / "lost.flac").symlink_to(tmp_path / "nowhere.flac")
    refused = clone.invoke("use-data", str(mine)).exception
    assert isinstance(refused, UserError)
    assert "nowhere.flac: no file (a pipe, or a link to nothing)" in str(refused)
    assert snapshot(clone.root / "data") == before
    assert not list(clone.root.glob(".data*.partial"))


def test_killed_in_the_middle_it_is_done_by_the_next_time(clone: Project, mine: Path) -> None:
    before = snapshot(mine)
    indexed(clone)
    clone.kill("recitative.commands.own_data::_put_aside", "after", 1, "use-data", str(mine))
    clone.run("use-data", str(mine))
    assert indexed(clone) == audio(mine)
    assert snapshot(mine) == before
    assert not list(clone.root.glob(".data*.partial"))


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As between two file systems."""

    def impossible(*_: object) -> None:
        raise OSError("another device")

    monkeypatch.setattr(own_data.fcntl, "ioctl", impossible)
    source, target = tmp_path / "a.wav", tmp_path / "b" / "a.wav"
    source.write_bytes(b"sound")
    assert own_data._link(source, target) == "hard-linked"
    target.unlink()
    monkeypatch.setattr(own_data.os, "link", impossible)
    assert own_data._link(source, target) == "copied"
    assert not os.path.samefile(source, target)
    assert target.read_bytes() == b"sound"


def test_an_experiment_in_a_copy_is_not_stopped_by_the_guard(clone: Project) -> None:
    """Another embedded corpus there; here, data/ stays as it is."""
    indexed(clone)
    clone.shell("git", "add", "-A")
    clone.shell("git", "commit", "-qm", "done")
    before = snapshot(clone.root / "data")
    clone.shell("dvc", "exp", "run", "--temp", "-n", "other", "-S", "demo.seed=9")
    assert "other" in clone.shell("dvc", "exp", "list").stdout
    assert snapshot(clone.root / "data") == before
