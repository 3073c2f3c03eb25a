"""What a pretraining's task is worth without learning anything."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from recitative.features.store import FeatureStore, write_store
from recitative.learning.config import PretrainConfig
from recitative.learning.emotions import emotion_codes
from recitative.learning.pretext import bayes_ceiling, best_accuracy, pretext_checks
from recitative.learning.pretraining import Pretraining, Speech, prepare
from recitative.models.config import CPCConfig, EmotionConfig, SCAEConfig

CONFIG = PretrainConfig(epochs=1, batch_size=64, learning_rate=1e-3, arch="cpc")


def made(
    folder: Path, arch: str, config: Any, loudness: float = 0.0, labels: Any = None
) -> Pretraining:
    """Forty clips of noise; each has its own level, `loudness` times a normal number, in each band."""
    rng = np.random.default_rng(1)
    names = [f"c{i:02}" for i in range(40)]
    clips = [
        (name, (rng.standard_normal((60, tiny.BANDS)) + loudness * rng.standard_normal(tiny.BANDS))
         .astype(np.float32))
        for name in names
    ]  # fmt: skip
    write_store(folder, clips)
    store = FeatureStore.open(folder)
    speech = Speech(store, {"train": names[:24], "validation": names[24:]}, 5, 2, labels or {})
    return prepare(speech, CONFIG.model_copy(update={"arch": arch}), tiny.ENCODER, config, 3)


def cpc(**changes: Any) -> CPCConfig:
    return CPCConfig(projection=8, context=8, stride=1, **changes)


@pytest.mark.parametrize(
    ("config", "ceiling"),
    [
        (cpc(negatives="released"), 0.75),
        (cpc(negatives="released", future=3), 1 - 1 / 12),
        (cpc(negatives="released", future=1), 0.5),
        (cpc(negatives="derangement"), 1.0),
        (cpc(negatives="derangement", future=1), 0.5),
        (cpc(negatives="cross_utterance"), 1.0),
    ],
)
def test_the_ceiling_is_what_the_negatives_leave(config: CPCConfig, ceiling: float) -> None:
    assert bayes_ceiling(config) == pytest.approx(ceiling)


def test_the_ceiling_of_the_release_is_that_of_somebody_who_sees_the_answer(tmp_path: Path) -> None:
    model: Any = tiny.pretraining_model("cpc")
    model.config = cpc(negatives="released")
    torch.manual_seed(0)
    future = torch.randn(4000, 2, 3)
    negative, _ = model.negatives(future, torch.arange(4000))
    unchanged = (negative == future).all((1, 2)).float().mean()
    assert 1 - float(unchanged) / 2 == pytest.approx(bayes_ceiling(model.config), abs=0.02)


def test_the_best_threshold() -> None:
    assert best_accuracy(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1.0
    assert best_accuracy(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert best_accuracy(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == 0.75
    assert best_accuracy(np.array([]), np.array([1.0])) == 0.5


def test_half_overlapping_segments_are_a_shortcut_and_a_gap_closes_it(tmp_path: Path) -> None:
    wide = pretext_checks(made(tmp_path / "a", "cpc", cpc(gap=0)), tiny.HOP, 0)
    assert wide["label_prior"] == 0.5
    assert wide["overlap_alone"] > 0.99  # noise: the shared frames are equal, others are not
    assert wide["mean_log_mel_alone"] > 0.6
    apart = pretext_checks(made(tmp_path / "b", "cpc", cpc(gap=1)), tiny.HOP, 0)
    assert apart["overlap_alone"] == 0.5
    assert apart["mean_log_mel_alone"] < 0.6


def test_the_level_of_an_utterance_is_a_shortcut_across_utterances(tmp_path: Path) -> None:
    found = pretext_checks(made(tmp_path, "cpc", cpc(gap=1), loudness=3.0), tiny.HOP, 0)
    assert found["mean_log_mel_alone"] > 0.95


def test_scaes_references(tmp_path: Path) -> None:
    found = pretext_checks(made(tmp_path, "scae", SCAEConfig(noise=0.2)), tiny.HOP, 0)
    assert found["error_of_the_noisy_input"] == pytest.approx(0.04)
    assert found["error_of_the_mean"] == pytest.approx(1.0, abs=0.1)  # standardised


def test_the_emotional_task(tmp_path: Path) -> None:
    labels = {f"c{i:02}": emotion_codes("Q1" if i % 4 else "Q3", None, None) for i in range(40)}
    model = made(tmp_path, "emotion", EmotionConfig(trunk=(8,)), labels=labels)
    found = pretext_checks(model, tiny.HOP, 0)
    assert found["label_prior"] == pytest.approx(0.75)
    assert found["mean_log_mel_alone"] < 0.85  # noise says nothing


def test_checking_changes_nothing(tmp_path: Path) -> None:
    model = made(tmp_path, "cpc", cpc())
    before = tiny.state(model.model)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = pretext_checks(model, tiny.HOP, 0)
    assert torch.equal(torch.rand(3), expected)
    assert pretext_checks(model, tiny.HOP, 0) == first
    assert not tiny.differing(before, model.model.state_dict())
