"""A result belongs to its key: what dvc.yaml lists, the code among it. Nothing else is used again."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import recitative
from recitative.commands.clean import run as clean
from recitative.experiment import work
from recitative.experiment.work import Work, content_hash, publish_stage, stage_key, works
from recitative.files import write_json
from recitative.params import Params, load_params

ROOT = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = {
    "stages": {
        "train": {
            "matrix": {"item": ["one", "two", "three"]},
            "cmd": "recitative train ${item.item}",
            "deps": ["data/${item.item}", "src/recitative/models", "build/${search.language}.csv"],
            "params": ["pretrain", "seed"],
        }
    }
}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A workspace `a` of a project with one stage of three items."""
    for name in ("a", "b"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        for item in ("one", "two", "three"):
            (tmp_path / name / "data" / item).write_text(item)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path / "a")
    return load_params(ROOT / "params.yaml")


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, taken for the one that runs."""
    package = tmp_path / "src" / "recitative"
    shutil.copytree(Path(recitative.__file__).parent / "models", package / "models")
    monkeypatch.setattr(recitative, "__file__", str(package / "__init__.py"))
    return package


@pytest.fixture
def made() -> list[str]:
    return []


def run(made: list[str], params: Params, item: str, *others: str) -> None:
    def make(works: dict[str, Work]) -> None:
        for name, one in works.items():
            made.append(name)
            (one.folder / "checkpoint").write_text("heavy")
            (one.folder / "result").mkdir()
            write_json(one.folder / "result" / "run.json", {"key": one.key, "run_id": name})

    publish_stage(params, "train", item, others, make)


def left() -> set[str]:
    return {one.folder.name.split("-")[1] for one in works()}


class TestKey:
    def test_it_is_what_the_pipeline_lists(self, params: Params, code: Path) -> None:
        before = stage_key(params, "train one")
        assert before == stage_key(params, "train one")
        assert before != stage_key(params, "train two")

        Path("data/two").write_text("another")
        more = params.transfer.model_copy(update={"repeats": 9})
        assert before == stage_key(params.model_copy(update={"transfer": more}), "train one")

        assert before != stage_key(params.model_copy(update={"seed": 7}), "train one")
        (code / "models" / "scae.py").write_text("# edited")
        assert before != stage_key(params, "train one")

    def test_a_dependency_may_be_named_by_a_parameter(self, params: Params) -> None:
        before = stage_key(params, "train one")
        Path("build").mkdir()
        Path("build", f"{params.search.language}.csv").write_text("there")
        assert before != stage_key(params, "train one")

    def test_compiled_code_is_no_content(self, params: Params, code: Path) -> None:
        before = stage_key(params, "train one")
        (code / "models" / "__pycache__").mkdir(exist_ok=True)
        (code / "models" / "__pycache__" / "scae.pyc").write_text("x")
        assert before == stage_key(params, "train one")

    def test_dvcs_hash_of_a_large_folder_is_taken_only_while_nothing_is_newer(
        self, params: Params, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path("data/folder")
        folder.mkdir()
        (folder / "x").write_text("x" * 100)
        out = {"path": "data/folder", "md5": "known", "size": 100, "nfiles": 1}
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"s": {"outs": [out]}}}))
        monkeypatch.setattr(work, "_LARGE", 10)
        assert work._known_to_dvc("data/folder") is None  # no DVC runs this
        monkeypatch.setenv("DVC_STAGE", "train@one")
        assert work._known_to_dvc("data/folder") == "known"
        os.utime(folder / "x", (2e9, 2e9))
        assert work._known_to_dvc("data/folder") is None
        monkeypatch.setattr(work, "_LARGE", 2**40)
        os.utime(folder / "x", (1e9, 1e9))
        assert work._known_to_dvc("data/folder") is None  # small ones are read

    def test_a_file_that_changed_within_its_time_and_size_is_another_inode(
        self, params: Params
    ) -> None:
        path = Path("data/one")
        before = content_hash(path)
        found = path.stat()
        path.unlink()
        Path("data/spare").write_text("keeps the inode from being used again")
        path.write_text("eno")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
        assert content_hash(path) != before

    def test_no_pipeline_and_no_such_stage_are_one_line(self, params: Params) -> None:
        with pytest.raises(work.UserError, match=r"no stage runs `recitative train four`"):
            stage_key(params, "train four")
        Path("dvc.yaml").unlink()
        with pytest.raises(work.UserError, match=r"dvc\.yaml: no such file"):
            stage_key(params, "train one")


class TestTwoVersionsOfTheCode:
    def test_all_is_made_anew_and_side_by_side(
        self, params: Params, code: Path, made: list[str]
    ) -> None:
        run(made, params, "one", "two", "three")
        for item in ("two", "three"):
            run(made, params, item, "one")
        assert made == ["one", "two", "three"]
        (code / "models" / "scae.py").write_text("# edited")
        calls: list[list[str]] = []

        def make(works: dict[str, Work]) -> None:
            calls.append(list(works))
            for one in works.values():
                (one.folder / "result").mkdir()
                write_json(one.folder / "result" / "run.json", {"key": one.key})

        publish_stage(params, "train", "one", ("two", "three"), make)
        assert calls == [["one", "two", "three"]]

    def test_what_the_faulty_code_finished_is_not_used(
        self, params: Params, code: Path, made: list[str]
    ) -> None:
        def killed(works: dict[str, Work]) -> None:
            (works["one"].folder / "repeat-0.json").write_text("faulty")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            publish_stage(params, "train", "one", (), killed)
        (code / "models" / "scae.py").write_text("# mended")

        def again(works: dict[str, Work]) -> None:
            assert not list(works["one"].folder.glob("repeat-*"))
            (works["one"].folder / "result").mkdir()

        publish_stage(params, "train", "one", (), again)


class TestLeft:
    def test_a_kill_between_a_stage_and_dvcs_cache_costs_no_training(
        self, params: Params, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(made, params, "one", "two")
        assert made == ["one", "two"]
        # Killed here, the experiment's folder with it: another one goes on.
        monkeypatch.chdir(tmp_path / "b")
        run(made, params, "one", "two")
        run(made, params, "two")
        assert made == ["one", "two"]
        for item in ("one", "two"):
            assert Path("build/train", item, "run.json").exists()

    def test_what_dvc_has_by_now_is_cleared(self, params: Params, made: list[str]) -> None:
        run(made, params, "one", "two")
        assert left() == {"one", "two"}
        run(made, params, "two")  # DVC runs a stage when it has the one before in its cache
        assert left() == {"two"}
        run(made, params, "three")
        assert left() == {"three"}

    def test_after_the_last_stage_what_nobody_will_ask_for_is_gone(
        self, params: Params, made: list[str], tmp_path: Path
    ) -> None:
        other = params.model_copy(update={"seed": 7})
        run(made, other, "one", "two")  # two was made ahead, and the seed is changed back
        run(made, params, "one", "three")  # three is made ahead and may still be asked for
        work.clear_unneeded(params)
        assert left() == {"three"}
        run(made, params, "three")
        assert made == ["one", "two", "one", "three"]
        work.clear_unneeded(params)
        assert not list((tmp_path / ".recitative" / "work").iterdir())  # no lock either

    def test_clean_says_what_it_removes_and_keeps_what_a_stage_goes_on_from(
        self, params: Params, made: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(made, params.model_copy(update={"seed": 7}), "one")
        with work.working(params, "train two") as mine:  # killed before it was published
            assert mine is not None
            (mine.folder / "checkpoint").write_text("x" * 2_000_000)
        clean(params, dry_run=True)
        assert left() == {"one", "two"}
        clean(params)
        told = capsys.readouterr().out
        assert "2.0 MB  train-two" in told
        assert "1 of 2 work folders removed" in told
        assert left() == {"two"}
        clean(params, everything=True)
        assert left() == set()

    def test_what_another_workspace_left_stays_for_a_week(
        self, params: Params, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(made, params, "one")
        monkeypatch.chdir(tmp_path / "b")
        run(made, params, "two")
        work.clear_unneeded(params)
        assert left() == {"one"}
        [old] = works()
        for path in (*old.folder.iterdir(), old.folder):
            os.utime(path, (1e9, 1e9))
        run(made, params, "three")
        assert left() == {"three"}

    def test_what_a_process_is_at_is_not_removed(self, params: Params) -> None:
        with work.working(params, "train one") as mine:
            assert mine is not None
            assert work.remove_works(lambda _: True) == []
            assert mine.folder.is_dir()

    def test_a_dvc_lock_that_a_killed_dvc_left_half_written_is_put_aside(
        self, params: Params, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """DVC writes it in place; with half of one it refuses to start."""
        Path(".dvc/tmp").mkdir(parents=True)
        entry = {"path": "build/index", "hash": "md5", "md5": "x.dir"}
        whole = yaml.safe_dump({"stages": {"s": {"cmd": "recitative s", "deps": [entry]}}})
        Path("dvc.lock").write_text(whole)
        clean(params, locks=True)
        assert Path("dvc.lock").read_text() == whole
        of_the_users = yaml.safe_dump({"stages": {"s": {"cmd": ["echo one", "echo two"]}}})
        Path("dvc.lock").write_text(of_the_users)  # DVC takes a list of commands, too
        clean(params, locks=True)
        assert Path("dvc.lock").read_text() == of_the_users
        for number, cut in enumerate((whole.index("path") + 5, len("stages"), 0)):
            Path("dvc.lock").write_text(whole[:cut])
            clean(params, locks=True)
            assert not Path("dvc.lock").exists()
            aside = Path(f"dvc.lock.damaged{number + 1 if number else ''}")
            assert aside.read_text() == whole[:cut]
        assert "put aside as dvc.lock.damaged2" in capsys.readouterr().out
        Path("dvc.lock").write_text("stages")
        with Path(".dvc/tmp/lock").open("a") as dvc:  # at work: it may be about to write the rest
            fcntl.flock(dvc, fcntl.LOCK_EX)
            clean(params, locks=True)
            assert Path("dvc.lock").read_text() == "stages"
