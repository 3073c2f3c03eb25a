"""Metrics against scikit-learn, and the paper's own mistakes planted again (C9, C10, C21)."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from recitative.errors import UserError
from recitative.evaluation import metrics
from recitative.evaluation.metrics import LABELS, TASKS

RUN = {
    "experiment": "1",
    "pairing": "eng2man",
    "setting": "cross",
    "speech_language": "eng",
    "music_language": "man",
    "run_id": "abc",
}
POSITIVE = {"arousal": {"Q1", "Q2"}, "valence": {"Q1", "Q4"}}


def table(rng, songs=12, segments=3, repeats=2):
    """Predictions of one cell, of random probabilities."""
    rows = []
    truth = np.resize(["Q1", "Q3", "Q1", "Q2", "Q1", "Q3", "Q1", "Q4"], songs)
    for repeat in range(repeats):
        for song in range(songs):
            for segment in range(segments):
                q = rng.dirichlet(np.ones(4))
                rows.append(
                    ["scae", "full", repeat, f"ch818/{song:02}", f"artist{song // 2}", segment]
                    + [*q, rng.random(), rng.random(), truth[song]]
                )
    return pd.DataFrame(rows, columns=list(metrics.PREDICTION_COLUMNS))


@pytest.fixture
def predictions():
    return table(np.random.default_rng(0))


codes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(codes)
@settings(max_examples=60, deadline=None)
def test_macro_f1_of_a_confusion_matrix_is_scikit_learns(pairs):
    true, predicted = np.array(pairs).T
    confusion = confusion_matrix(true, predicted, labels=range(4))
    expected = f1_score(true, predicted, labels=range(4), average="macro", zero_division=0)
    assert metrics.macro_f1_from_confusion(confusion) == pytest.approx(expected)
    assert metrics.score(true, predicted, "quadrant").macro.f1 == pytest.approx(expected)


def test_macro_f1_of_many_confusion_matrices_at_once():
    stack = np.random.default_rng(1).integers(5, size=(3, 2, 4, 4))
    together = metrics.macro_f1_from_confusion(stack)
    assert together.shape == (3, 2)
    assert together[2, 1] == metrics.macro_f1_from_confusion(stack[2, 1])


def test_a_class_that_never_occurs_counts_as_zero():
    perfect = metrics.score([0, 1], [0, 1], "quadrant")
    assert perfect.macro.f1 == 0.5
    assert perfect.weighted.f1 == 1.0
    assert perfect.support.tolist() == [1, 1, 0, 0]
    assert perfect.confusion.shape == (4, 4)


def test_macro_and_weighted_are_not_swapped(predictions):
    # an uneven truth and a model that knows only the frequent class: weighted > macro by far
    uneven = predictions.assign(q1=0.97, q2=0.01, q3=0.01, q4=0.01)
    rows = pd.DataFrame(metrics.results_rows(uneven, RUN))
    rows = rows[(rows.task == "quadrant") & (rows.level == "song") & (rows.repeat == 0)]
    true = metrics.decide(uneven[(uneven.repeat == 0) & (uneven.segment == 0)], "quadrant")[0]
    for average in ("macro", "weighted"):
        row = rows[rows.average == average].iloc[0]
        guess = np.zeros_like(true)
        for name, oracle in (("f1", f1_score), ("precision", precision_score)):
            expected = oracle(true, guess, labels=range(4), average=average, zero_division=0)
            assert row[name] == pytest.approx(expected)
        recall = recall_score(true, guess, labels=range(4), average=average, zero_division=0)
        assert row["recall"] == pytest.approx(recall)
    f1 = rows.set_index("average").f1
    assert f1["weighted"] > f1["macro"] + 0.05


def test_arousal_and_valence_are_not_swapped(predictions):
    # arousal is always right; valence always says positive
    arousal = predictions.quadrant.isin(POSITIVE["arousal"]).astype(float)
    asymmetric = predictions.assign(arousal=arousal, valence=0.9)
    rows = pd.DataFrame(metrics.results_rows(asymmetric, RUN))
    assert (rows[rows.task == "arousal"].f1 == 1).all()
    share = predictions.quadrant.isin(POSITIVE["valence"]).mean()
    valence = rows[(rows.task == "valence") & (rows.average == "macro")]
    assert valence.accuracy.to_numpy() == pytest.approx(share)
    assert valence.f1.to_numpy() == pytest.approx(share / (1 + share))
    supports = pd.DataFrame(metrics.per_class_rows(asymmetric, RUN))
    segments = supports[(supports.level == "segment") & (supports.repeat == 0)]
    counted = segments.set_index("class").support
    once = predictions[predictions.repeat == 0].quadrant
    assert counted["A+"] == once.isin(["Q1", "Q2"]).sum()
    assert counted["V+"] == once.isin(["Q1", "Q4"]).sum()


@pytest.mark.parametrize("quadrant", LABELS["quadrant"])
def test_every_quadrant_has_its_arousal_and_valence(quadrant, predictions):
    one = predictions.assign(quadrant=quadrant)
    for task in ("arousal", "valence"):
        assert set(metrics.decide(one, task)[0]) == {int(quadrant in POSITIVE[task])}


def test_one_half_is_positive_and_the_first_of_equals_wins(predictions):
    even = predictions.assign(arousal=0.5, valence=0.4999, q1=0.25, q2=0.25, q3=0.25, q4=0.25)
    assert (metrics.decide(even, "arousal")[1] == 1).all()
    assert (metrics.decide(even, "valence")[1] == 0).all()
    assert (metrics.decide(even, "quadrant")[1] == 0).all()


def test_a_song_is_the_mean_of_its_segments_whatever_their_order(predictions):
    songs = metrics.to_song_level(predictions.sample(frac=1, random_state=3))
    assert list(songs.columns) == list(metrics.SONG_COLUMNS)
    assert len(songs) == 24
    row = songs[(songs["clip"] == "ch818/03") & (songs.repeat == 1)].iloc[0]
    own = predictions[(predictions["clip"] == "ch818/03") & (predictions.repeat == 1)]
    assert row.q2 == pytest.approx(own.q2.mean())
    assert row.valence == pytest.approx(own.valence.mean())
    assert row.quadrant == own.quadrant.iloc[0]


def test_segments_are_outvoted_by_a_sure_one(predictions):
    # two hesitant segments and a sure one: a majority vote and the mean disagree
    sure = predictions.assign(arousal=np.where(predictions.segment == 0, 1.0, 0.4))
    assert (metrics.decide(sure, "arousal")[1] == 0).sum() == len(sure) * 2 / 3
    assert (metrics.decide(metrics.to_song_level(sure), "arousal")[1] == 1).all()


def test_results_have_every_cell_in_the_columns_of_the_file(predictions):
    rows = metrics.results_rows(predictions, RUN)
    assert len(rows) == 2 * 2 * 3 * 2  # repeats, levels, tasks, averages
    assert all(tuple(row) == metrics.RESULT_COLUMNS for row in rows)
    frame = pd.DataFrame(rows)
    assert set(frame[frame.level == "segment"].n) == {36}
    assert set(frame[frame.level == "song"].n) == {12}
    assert not frame.duplicated(["repeat", "task", "level", "average"]).any()
    for task in TASKS:
        part = frame[(frame.task == task) & (frame.level == "segment") & (frame.repeat == 1)]
        true, predicted = metrics.decide(predictions[predictions.repeat == 1], task)
        assert set(part.accuracy) == {accuracy_score(true, predicted)}


def test_per_class_rows(predictions):
    rows = metrics.per_class_rows(predictions, RUN)
    assert len(rows) == 2 * 2 * (4 + 2 + 2)
    assert all(tuple(row) == metrics.CLASS_COLUMNS for row in rows)
    frame = pd.DataFrame(rows)
    part = frame[(frame.task == "quadrant") & (frame.level == "song") & (frame.repeat == 0)]
    songs = metrics.to_song_level(predictions)
    true, predicted = metrics.decide(songs[songs.repeat == 0], "quadrant")
    expected = recall_score(true, predicted, labels=range(4), average=None, zero_division=0)
    assert part.recall.to_numpy() == pytest.approx(expected)
    assert part.support.sum() == 12


def test_song_decisions_line_the_repeats_up(predictions):
    found = metrics.song_decisions(predictions.sample(frac=1, random_state=4), "quadrant")
    assert found.predicted.shape == (2, 12)
    songs = metrics.to_song_level(predictions)
    for repeat in (0, 1):
        own = songs[songs.repeat == repeat]
        assert tuple(own["clip"]) == found.songs
        assert found.predicted[repeat].tolist() == metrics.decide(own, "quadrant")[1].tolist()
        assert found.true.tolist() == metrics.decide(own, "quadrant")[0].tolist()


def test_repeats_on_different_songs_are_refused(predictions):
    fewer = predictions[~((predictions.repeat == 1) & (predictions["clip"] == "ch818/00"))]
    with pytest.raises(UserError, match="repeat 0: 12 songs, repeat 1: 11 songs"):
        metrics.song_decisions(fewer, "quadrant")
    swapped = pd.concat([fewer, predictions.iloc[:3].assign(repeat=1, clip="ch818/other")])
    with pytest.raises(UserError, match="different songs"):
        metrics.song_decisions(swapped, "quadrant")


def test_two_cells_in_one_are_refused(predictions):
    both = pd.concat([predictions, predictions.assign(transfer_mode="feature_extraction")])
    with pytest.raises(UserError, match="2 cells"):
        metrics.song_decisions(both, "quadrant")


def test_cells_of_different_splits_cannot_be_paired(predictions):
    whole = metrics.song_decisions(predictions, "arousal")
    metrics.require_same_songs(whole, whole)
    fewer = metrics.song_decisions(predictions[predictions["clip"] != "ch818/05"], "arousal")
    with pytest.raises(UserError, match="12 and 11, 11 shared"):
        metrics.require_same_songs(whole, fewer)
    relabelled = predictions.assign(
        quadrant=predictions.quadrant.mask(
            predictions["clip"] == "ch818/02", "Q3" if whole.true[2] else "Q1"
        )
    )
    with pytest.raises(UserError, match="ch818/02 has another true arousal"):
        metrics.require_same_songs(whole, metrics.song_decisions(relabelled, "arousal"))
    with pytest.raises(UserError, match="arousal cannot be compared with valence"):
        metrics.require_same_songs(whole, metrics.song_decisions(predictions, "valence"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("q1", np.nan, "repeat 1, clip ch818/04.*nan"),
        ("arousal", np.nan, "repeat 1, clip ch818/04.*nan"),
        ("valence", 1.5, "valence 1.5.*no probabilities"),
        ("q3", -0.1, "no probabilities"),
        ("q2", 1.0, "no probabilities"),  # the four no longer sum to 1
        ("quadrant", "Q5", "clip ch818/04: quadrant 'Q5' is none of Q1, Q2, Q3, Q4"),
    ],
)
def test_bad_predictions_are_named(predictions, column, value, message):
    bad = predictions.copy()
    where = (bad.repeat == 1) & (bad["clip"] == "ch818/04") & (bad.segment == 2)
    bad.loc[where, column] = value
    with pytest.raises(UserError, match=message):
        metrics.results_rows(bad, RUN)


def test_a_missing_column_an_empty_table_and_a_clip_of_two_labels(predictions):
    with pytest.raises(UserError, match="no column valence"):
        metrics.decide(predictions.drop(columns="valence"), "quadrant")
    with pytest.raises(UserError, match="no predictions"):
        metrics.results_rows(predictions.iloc[:0], RUN)
    with pytest.raises(UserError, match="no items to score"):
        metrics.score([], [], "arousal")
    mixed = predictions.copy()
    mixed.loc[0, "quadrant"] = "Q2" if mixed.quadrant[0] != "Q2" else "Q1"
    with pytest.raises(UserError, match="ch818/00 has more than one"):
        metrics.to_song_level(mixed)
