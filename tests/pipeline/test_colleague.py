"""Another clone: results that another's store has the runs of, and the same bytes from the same seed."""

import json
import shutil
from pathlib import Path

import pytest
from projects import Project, make_project

from recitative.tracking import registry
from recitative.tracking.runs import ELSEWHERE

pytestmark = pytest.mark.slow


def test_what_a_colleague_pulled_is_registered_judged_and_reported(
    trained: Project, tmp_path: Path
) -> None:
    """As after `dvc pull`, or `rm mlflow.db`: the outputs are there, the runs are not."""
    project = trained.copy(tmp_path / "theirs").set(**{"registry.draws": 101})
    for path in (*project.root.glob("mlflow.db*"), *project.root.glob("mlartifacts")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(project.root / ".recitative")
    before = {path: path.read_bytes() for path in project.root.iterdir() if path.is_file()}
    said = project.run("register")
    assert said.count("a new run stands for it") == 2
    for stage in ("claims", "report"):
        notes = [line for line in project.run(stage).splitlines() if line.startswith("note: ")]
        assert [" runs are not in this MLflow store" in note for note in notes] == [True], notes
    page = (project.root / "build/report/index.html").read_text("utf-8")
    assert "compare-runs" not in page  # links would lead nowhere
    [standing] = {run.info.run_id for run in project.runs(f"tags.{ELSEWHERE} LIKE '%'")} & {
        run.info.run_id for run in project.runs("attributes.run_name = 'mer-eng'")
    }
    decisions = json.loads((project.root / "build/registry/decision.json").read_text("utf-8"))
    with project.here():
        version = registry.by_alias("mer-eng", decisions[0]["alias"])
        assert version
        assert standing in version.source
        assert list(registry.bundle_of(version).glob("*.safetensors"))
    assert "stands for it" not in project.run("register")
    project.run("promote", "mer-eng/1")
    project.run("clean")
    assert before == {path: path.read_bytes() for path in before}  # whatever the user edited


def scored(build: Path) -> dict[str, bytes]:
    """Every file that is not about this clone's own runs, nor a picture or a page."""
    found = {}
    for path in sorted(build.rglob("*")):
        name = path.relative_to(build).as_posix()
        own = path.name == "run.json" or name.startswith(("registry/", "report/figures/"))
        if path.is_dir() or own or path.suffix in (".html", ".png", ".svg"):
            continue
        found[name] = path.read_bytes()
        if name.startswith("transfer/") and path.suffix == ".json":
            content = json.loads(found[name])
            content.pop("run_id", None)
            found[name] = json.dumps(content).encode()
    return found


def test_two_clones_with_one_seed_write_the_same_bytes(
    trained: Project, corpora: Path, tmp_path: Path
) -> None:
    first = trained.copy(tmp_path / "first")
    second = make_project(tmp_path / "a second clone")
    (second.root / "data").symlink_to(corpora)
    for stage in ("index", "split", "featurize"):
        second.run(stage)
    second.train()
    for stage in ("evaluate", "agreement"):
        second.run(stage)
    for project in (first, second):
        for stage in ("claims", "report"):
            project.run(stage)
    one, other = (scored(project.root / "build") for project in (first, second))
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == set()
    assert {"evaluate/results.csv", "claims/claims.json", "claims/matrix.csv"} <= one.keys()
