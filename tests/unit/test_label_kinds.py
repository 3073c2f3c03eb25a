"""The kinds of labels that were trained on, found in build/ and in MLflow."""

from pathlib import Path

import pytest
from test_comparisons import cell

from recitative.files import write_csv
from recitative.params import Params, load_params
from recitative.stages import claims, report
from recitative.tracking.past_runs import RunPredictions


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project_root: Path) -> Params:
    """One cell in build/, trained on the majority."""
    params = load_params(project_root / "params.yaml")
    config = params.evaluate.model_copy(update={"draws": 199})
    monkeypatch.chdir(tmp_path)
    for music in ("eng", "man"):
        write_csv(Path(f"build/splits/music-{music}.csv"), ("id",), [])
    Path("build/transfer/eng2eng").mkdir(parents=True)
    cell("full", 0.4).to_csv("build/transfer/eng2eng/predictions.csv", index=False)
    return params.model_copy(update={"evaluate": config})


def test_present_and_earlier_kinds_are_compared(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def found(hashes, protocol, labels, same):
        asked.append((labels, same))
        tables = {"soft": cell("full", 0.9, seed=5), "reliable": None}
        if tables[labels] is None:
            return []
        whole = tables[labels]
        return [
            RunPredictions("demo", arch, "full", pairing, 0.1, f"run-{r}",
                           whole[whole["repeat"] == r])
            for r in (0, 1)
            for arch, pairing in (("scae", "eng2eng"), ("cpc", "eng2eng"), ("scae", "none2eng"))
        ]  # fmt: skip

    monkeypatch.setattr(claims.past_runs, "predictions_of", found)
    [row] = report.compared_labels(params)  # another arch and a control are no kind
    assert (row["a_labels"], row["b_labels"], row["songs"]) == ("majority", "soft", 40)
    assert row["difference"] < -20
    assert [labels for labels, _ in asked] == ["soft", "reliable"]
    assert all(same == {"size": "demo", "transfer.head": "pooled"} for _, same in asked)


def test_one_kind_alone_is_no_comparison(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims.past_runs, "predictions_of", lambda *_: [])
    assert report.compared_labels(params) == []
