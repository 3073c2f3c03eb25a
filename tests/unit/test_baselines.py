"""The baselines are scikit-learn's, on the training clips alone."""

from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tiny
from recitative.learning import baselines
from recitative.learning.baselines import mfcc_statistics, predict_baseline
from recitative.learning.config import BASELINES
from recitative.learning.segments import LabelledSegments, task_targets
from recitative.learning.transfer import Parts

SONGS = [0] * 9 + [1] * 5 + [2] * 4 + [3] * 6
TASKS = ("quadrant", "arousal", "valence")


@pytest.fixture
def segments(tmp_path: Path) -> LabelledSegments:
    return tiny.music(tmp_path / "music", SONGS)


@pytest.fixture
def parts(segments: LabelledSegments) -> Parts:
    train, validation, test = (segments.of(segments.clips[i::3]) for i in range(3))
    return Parts(train, validation, test)


@pytest.fixture
def features(segments: LabelledSegments, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Hand-made features, which overlap: quadrants around the corners of a square."""
    rng = np.random.default_rng(0)
    corner = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[segments.clip_quadrant]
    made: np.ndarray = (corner + rng.normal(0, 1, corner.shape)) * [1, 100]
    monkeypatch.setattr(baselines, "mfcc_statistics", lambda _: made)
    return made


def labels(predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Class codes from the six columns; they are sure of themselves."""
    assert set(np.unique(predicted)) <= {0, 1}
    np.testing.assert_array_equal(predicted[:, :4].sum(1), 1)
    return {
        "quadrant": predicted[:, :4].argmax(1),
        "arousal": predicted[:, 4].astype(int),
        "valence": predicted[:, 5].astype(int),
    }


def clips_of(segments: LabelledSegments, part: np.ndarray) -> np.ndarray:
    return np.unique(segments.clip[part])


def test_every_baseline_that_can_be_asked_for_is_there() -> None:
    assert set(baselines._CLASSIFIERS) == set(BASELINES)


def test_majority_is_the_most_frequent_training_class(
    segments: LabelledSegments, parts: Parts
) -> None:
    predicted = labels(predict_baseline("majority", segments, parts, seed=0))
    train = clips_of(segments, parts.train)
    for task, target in task_targets(segments.clip_quadrant).items():
        expected = np.bincount(target[train]).argmax()
        assert set(predicted[task]) == {expected}


def test_stratified_is_sklearns_draw_and_one_a_song(
    segments: LabelledSegments, parts: Parts
) -> None:
    train, test = clips_of(segments, parts.train), clips_of(segments, parts.test)
    seed = 2**60 + 7  # a derived seed has 63 bits
    predicted = labels(predict_baseline("stratified", segments, parts, seed))
    for task, target in task_targets(segments.clip_quadrant).items():
        dummy = DummyClassifier(strategy="stratified", random_state=seed % 2**32)
        drawn = dummy.fit(np.zeros((len(train), 1)), target[train]).predict(
            np.zeros((len(test), 1))
        )
        np.testing.assert_array_equal(predicted[task], np.repeat(drawn, 5))
    other = labels(predict_baseline("stratified", segments, parts, seed + 1))
    assert any((predicted[task] != other[task]).any() for task in TASKS)


def test_the_svm_is_sklearns_on_standardised_features(
    segments: LabelledSegments, parts: Parts, features: np.ndarray
) -> None:
    train, test = clips_of(segments, parts.train), clips_of(segments, parts.test)
    predicted = labels(predict_baseline("mfcc_svm", segments, parts, seed=0))
    scaler = StandardScaler().fit(features[train])
    for task, target in task_targets(segments.clip_quadrant).items():
        svm = SVC(class_weight="balanced").fit(scaler.transform(features[train]), target[train])
        answers = svm.predict(scaler.transform(features[test]))
        assert len(set(answers)) > 1
        np.testing.assert_array_equal(predicted[task], np.repeat(answers, 5))


def test_the_test_parts_labels_are_not_read(
    segments: LabelledSegments, parts: Parts, features: np.ndarray
) -> None:
    poisoned = segments.clip_quadrant.copy()
    poisoned[clips_of(segments, parts.test)] = 3 - poisoned[clips_of(segments, parts.test)]
    for name in ("majority", "stratified", "mfcc_svm"):
        expected = predict_baseline(name, segments, parts, 1)
        blind = predict_baseline(name, replace(segments, clip_quadrant=poisoned), parts, 1)
        np.testing.assert_array_equal(expected, blind)


@pytest.mark.parametrize("name", ["majority", "stratified", "mfcc_svm"])
def test_a_training_part_of_one_class_answers_that_class(
    name: str, segments: LabelledSegments, parts: Parts, features: np.ndarray
) -> None:
    one = replace(parts, train=segments.of(segments.clips[9:14]))  # Q2 alone: A+, V-
    predicted = predict_baseline(name, segments, one, seed=0)
    np.testing.assert_array_equal(predicted, [[0, 1, 0, 0, 1, 0]] * len(parts.test))


def test_predictions_follow_the_order_of_the_segments(
    segments: LabelledSegments, parts: Parts, features: np.ndarray
) -> None:
    backwards = replace(parts, test=parts.test[::-1].copy())
    forwards = predict_baseline("mfcc_svm", segments, parts, 0)
    np.testing.assert_array_equal(
        predict_baseline("mfcc_svm", segments, backwards, 0), forwards[::-1]
    )


def test_mfcc_statistics_are_librosas(tmp_path: Path) -> None:
    store = tiny.store(tmp_path, {"a": 40, "b": 25}, bands=64)
    songs = [tiny.Song("b", "x", "Q1"), tiny.Song("a", "y", "Q2")]
    segments = LabelledSegments.load(store, songs, tiny.FRAMES, tiny.HOP)
    statistics = mfcc_statistics(segments)
    assert statistics.shape == (2, 40)
    for row, clip in zip(statistics, ("b", "a"), strict=True):
        mfcc = librosa.feature.mfcc(S=store.frames_of(clip).T, n_mfcc=20, norm="ortho")
        expected = np.concatenate([mfcc.mean(1), mfcc.std(1)])
        np.testing.assert_allclose(row, expected, atol=1e-5)
