"""A cell that is trained twice: scored on validation songs, then trained anew with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import tiny
from recitative.experiment import cell as cells
from recitative.experiment.cell import Cell, train_cell
from recitative.learning.config import TransferConfig
from recitative.learning.segments import LabelledSegments
from recitative.learning.training import Epoch
from recitative.learning.transfer import Parts, encode
from recitative.models.storage import (
    build_classifier,
    build_encoder,
    build_pretrained,
    describe,
    save_weights,
)

FIT = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "schedule": "cosine", "keep": "last"}
CLASSIFIER = {"pooled_trunk": [8], "standardize": True}
CONFIG = TransferConfig.model_validate(
    {"repeats": 1, "head": "pooled", "classifier": CLASSIFIER, "refit": True}
    | {"frozen": FIT, "finetune": FIT}
)
DESCRIPTION = describe("scae", tiny.ENCODER, tiny.CONFIGS["scae"], tiny.BANDS, tiny.FRAMES) | {
    "head": "pooled",
    "classifier": CONFIG.classifier.model_dump(mode="json"),
}


@pytest.fixture
def music(tmp_path: Path) -> LabelledSegments:
    return tiny.music(tmp_path / "music", [0, 1, 2, 3] * 4)


@pytest.fixture
def parts(music: LabelledSegments) -> Parts:
    of = (music.clips[:8], music.clips[8:12], music.clips[12:])
    return Parts(*(music.of(clips) for clips in of))


@pytest.fixture
def made(tmp_path: Path, music: LabelledSegments) -> Any:
    torch.manual_seed(3)
    pretrained = tmp_path / "pretrained.safetensors"
    save_weights(pretrained, build_pretrained(DESCRIPTION))
    model = build_classifier(DESCRIPTION, build_encoder(DESCRIPTION))
    cells.load_encoder(pretrained, model)
    codes = tmp_path / "codes.npy"
    encode(model, music, tiny.CPU, codes)

    def make(mode: str, config: TransferConfig = CONFIG, folder: str = "a") -> Cell:
        given = mode in ("feature_extraction", "full")
        before = tmp_path / folder / "feature_extraction" if mode == "full" else None
        return Cell(
            mode, 0, 0, 7, DESCRIPTION, config, True, pretrained if given else None, before,
            codes if given else None, tmp_path / folder / mode, 0.0,
        )  # fmt: skip

    return make


def trained(cell: Cell, music: LabelledSegments, parts: Parts) -> tuple[dict[str, Any], int]:
    logged: list[Epoch] = []
    return train_cell(cell, music, parts, {}, tiny.CPU, logged.append), len(logged)


@pytest.mark.parametrize("mode", ["feature_extraction", "full"])
def test_the_score_is_of_a_network_that_never_saw_the_validation_songs(
    mode: str, made: Any, music: LabelledSegments, parts: Parts
) -> None:
    """Without that, the registry would choose by songs that were learned from."""
    assert parts.validation is not None
    flipped = music.clip_quadrant.copy()
    flipped[np.unique(music.clip[parts.validation])] ^= 3
    scored = []
    for folder, quadrants in (("a", music.clip_quadrant), ("b", flipped)):
        labelled = replace(music, clip_quadrant=quadrants)
        cell = made(mode, folder=folder)
        if cell.before:
            trained(made("feature_extraction", folder=folder), labelled, parts)
        result, logged = trained(cell, labelled, parts)
        assert logged == len(result["history"]) == 2
        assert result["validation"]
        assert result["train_clips"] == 12
        scored.append((load_file(cell.scored.weights), load_file(cell.weights)))
    assert not tiny.differing(scored[0][0], scored[1][0]), "the scored network saw their labels"
    assert tiny.differing(scored[0][1], scored[1][1]), "the kept network did not learn from them"


def test_the_score_is_that_of_a_cell_without_a_second_training(
    made: Any, music: LabelledSegments, parts: Parts
) -> None:
    once, _ = trained(made("feature_extraction", CONFIG.model_copy(update={"refit": False})),
                      music, parts)  # fmt: skip
    twice, _ = trained(made("feature_extraction", folder="b"), music, parts)
    assert once["validation"] == twice["validation"]
    assert once["history"] == twice["history"]


def test_the_second_training_takes_as_many_epochs_as_were_kept(
    made: Any, music: LabelledSegments, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = CONFIG.frozen.model_copy(
        update={"keep": "best", "epochs": 6, "learning_rate": 1.0, "schedule": "constant"}
    )
    assert parts.validation is not None
    flipped = music.clip_quadrant.copy()  # what is learned from the training songs is wrong there
    flipped[np.unique(music.clip[parts.validation])] ^= 2
    music = replace(music, clip_quadrant=flipped)
    fitted: list[int] = []
    fit_mode = cells.fit_mode

    def counted(*given: Any) -> Any:
        fitted.append(0)
        for epoch in fit_mode(*given):
            fitted[-1] += 1
            yield epoch

    monkeypatch.setattr(cells, "fit_mode", counted)
    cell = made("feature_extraction", CONFIG.model_copy(update={"frozen": best}))
    result, _ = trained(cell, music, parts)
    kept = max(row["epoch"] for row in result["history"] if row["best"]) + 1
    assert fitted == [6, kept]
    assert kept < 6


@pytest.mark.parametrize("mode", ["random_encoder", "scratch", "shuffled_labels"])
def test_a_control_is_trained_once_on_all_but_the_test_part(
    mode: str, made: Any, music: LabelledSegments, parts: Parts
) -> None:
    cell = made(mode)
    result, logged = trained(cell, music, parts)
    assert result["validation"] == {}
    assert logged == 2
    assert result["train_clips"] == 12
    assert not cell.scored.result.exists()


def test_a_cell_killed_in_its_second_training_does_not_repeat_the_first(
    made: Any, music: LabelledSegments, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = trained(made("feature_extraction"), music, parts)
    cell, begun = made("feature_extraction", folder="b"), []
    fit_mode = cells.fit_mode

    def dying(*given: Any) -> Any:
        begun.append(given[3].validation is None)
        for epoch in fit_mode(*given):
            yield epoch
            if begun == [False, True]:
                raise KeyboardInterrupt

    monkeypatch.setattr(cells, "fit_mode", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(cell, music, parts)
    assert trained(cell, music, parts)[0] == whole
    assert begun == [False, True, True]
    same = made("feature_extraction")
    assert cell.weights.read_bytes() == same.weights.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(cell.predictions), pd.read_csv(same.predictions))
