"""The control openSMILE + SVM: what it learns from, and what is said where the package is not there."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recitative.learning import baselines
from recitative.learning.config import CONTROLS
from recitative.learning.transfer import Parts
from recitative.stages import controls
from tiny import music


@pytest.fixture
def songs(tmp_path):
    """Twenty songs; the first twelve are for training, the last eight for the test."""
    segments = music(tmp_path, [0, 1, 2, 3] * 5)
    train, test = (segments.of(segments.clips[part]) for part in (slice(12), slice(12, None)))
    return segments, Parts(train, train[:0], test)


def test_it_learns_from_the_functionals_song_by_song(songs):
    segments, parts = songs
    told = np.eye(4)[segments.clip_quadrant]  # functionals that give the quadrant away
    predicted = baselines.predict_baseline("opensmile_svm", segments, parts, 0, told)
    assert predicted.shape == (len(parts.test), 6)
    assert (predicted[:, :4].argmax(1) == segments.quadrant[parts.test]).all()
    noise = np.random.default_rng(0).standard_normal((len(segments.clips), 88))
    guessed = baselines.predict_baseline("opensmile_svm", segments, parts, 0, noise)
    assert (guessed[:, :4].argmax(1) != segments.quadrant[parts.test]).any()
    with pytest.raises(ValueError, match="functionals"):
        baselines.predict_baseline("opensmile_svm", segments, parts, 0)


def test_functionals_are_egemaps_in_the_order_of_the_clips(monkeypatch):
    asked = {}

    class Smile:
        def __init__(self, feature_set, feature_level):
            asked["set"], asked["level"] = feature_set, feature_level

        def process_signal(self, signal, sample_rate):
            return pd.DataFrame([[signal.mean(), sample_rate]])

    fake = SimpleNamespace(
        Smile=Smile,
        FeatureSet=SimpleNamespace(eGeMAPSv02="eGeMAPSv02"),
        FeatureLevel=SimpleNamespace(Functionals="func"),
    )
    monkeypatch.setitem(sys.modules, "opensmile", fake)
    found = baselines.opensmile_functionals(iter([np.full(9, 1.0), np.full(5, 2.0)]), 16000)
    assert found.tolist() == [[1.0, 16000], [2.0, 16000]]
    assert asked == {"set": "eGeMAPSv02", "level": "func"}


def test_the_package_itself_gives_88_finite_numbers():
    pytest.importorskip("opensmile")
    noise = np.random.default_rng(0).standard_normal((2, 32000)).astype(np.float32) * 0.1
    found = baselines.opensmile_functionals(iter(noise), 16000)
    assert found.shape == (2, 88)
    assert np.isfinite(found).all()


def test_without_the_package_it_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(controls.baselines, "opensmile_installed", lambda: False)
    assert "opensmile_svm" in CONTROLS
    left_out = controls._missing(CONTROLS)
    assert list(left_out) == ["opensmile_svm"]
    assert "pip install opensmile" in left_out["opensmile_svm"]
    assert controls._missing(("majority",)) == {}  # not asked for, not missing
    monkeypatch.setattr(controls.baselines, "opensmile_installed", lambda: True)
    assert controls._missing(CONTROLS) == {}
