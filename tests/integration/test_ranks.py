"""One model in two processes (gloo, CPU): the curve of one process; a dead process costs an epoch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranked
from projects import Project, grown_project

from recitative.errors import UserError
from recitative.files import read_csv
from recitative.learning import ranks
from recitative.learning.ranks import Ranks, launch

pytestmark = pytest.mark.integration


def trained(folder: Path, *more: Any, together: bool = True) -> dict[str, Any]:
    folder.mkdir()
    if together:
        launch(ranked.regression, 2, folder, *more)
    else:
        ranked.regression(Ranks(), folder)
    found: dict[str, Any] = json.loads((folder / "0.json").read_text())
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trained(tmp_path_factory.mktemp("two") / "work")


def test_two_processes_give_the_curve_of_one(two: dict[str, Any], tmp_path: Path) -> None:
    """Equal but for the order of sums: shares of unequal size are weighed, the last batch is whole."""
    one = trained(tmp_path / "one", together=False)
    assert len(one["curve"]) == ranked.EPOCHS
    assert one["curve"][0][0] > 2 * one["curve"][-1][0], "it learns something"
    np.testing.assert_allclose(two["curve"], one["curve"], rtol=1e-4)
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=1e-3, atol=1e-4)


def test_a_process_that_dies_changes_nothing(two: dict[str, Any], tmp_path: Path) -> None:
    """All start again from the checkpoint, and end where they would have ended."""
    assert trained(tmp_path / "work", 4) == two
    assert (tmp_path / "work" / "died").exists()


def test_what_a_user_can_mend_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^the loss is nan: lower the learning rate$"):
        launch(ranked.refuses, 2, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "another start would not help"


def test_processes_that_die_again_and_again_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "RESTARTS", 1)
    with pytest.raises(UserError, match=r"a process died 2 times, the last with exit code \d+"):
        launch(ranked.always_dies, 2, tmp_path)
    assert len(list(tmp_path.glob("1.*"))) == 2


def test_a_pretraining_in_two_processes(tmp_path: Path) -> None:
    """Batch norm sees half a batch on a CPU, so the curves are close, not equal."""
    project = grown_project(tmp_path, "index", "split", "featurize")
    project.set(
        **{
            "pretrain.epochs": 15,
            "pretrain.batch_size": 32,
            "pretrain.learning_rate": 0.01,
            "pretrain.patience": 0,
            "compute.ahead": False,
        }
    )
    other = project.copy(tmp_path / "two").set(**{"compute.strategy": "ddp", "compute.devices": 2})
    curves = []
    for each in (project, other):
        each.run("pretrain", "eng")
        folder = each.root / "build" / "pretrain" / "eng"
        rows = read_csv(folder / "history.csv")
        curves.append([float(row["train_loss"]) for row in rows])
        assert (folder / "model.safetensors").exists()
        [run] = each.runs("tags.transfer_mode = 'pretrain'")
        assert run.info.status == "FINISHED"
    assert len(curves[1]) == 15
    assert curves[0][0] - curves[0][-1] > 0.2 * curves[0][0], (
        "the loss falls, by more than is allowed"
    )
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.1)
    assert keys(project) != keys(other), "another result, so another key"


def keys(project: Project) -> str:
    text = (project.root / "build" / "pretrain" / "eng" / "run.json").read_text()
    return str(json.loads(text)["key"])
