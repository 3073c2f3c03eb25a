"""Every condition of a promotion alone, and the comparisons that are none."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from recitative.evaluation.metrics import PROBABILITIES
from recitative.evaluation.promotion import (
    ENOUGH_SONGS,
    Gate,
    Songs,
    above_champion,
    averaged,
    beside,
    gates,
    task_scores,
)

TRUE = np.arange(80) % 4


def songs(wrong: int = 0, true: np.ndarray = TRUE, prefix: str = "song") -> Songs:
    """Decisions that are right but for the first `wrong` songs, where they are one class on."""
    predicted = true.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % 4
    return Songs(tuple(f"{prefix}{i}" for i in range(len(true))), true, predicted)


def judge(
    candidate: Songs, champion: Songs | None = None, leaks: tuple[str, ...] = (), recall: float = 0
) -> dict[str, Gate]:
    rng = np.random.default_rng(0)
    found = gates(candidate, leaks, recall, 300, rng)
    return {gate.name: gate for gate in [*found, above_champion(candidate, champion, 300, rng)]}


def failed(judged: dict[str, Gate]) -> list[str]:
    return [name for name, gate in judged.items() if not gate.passed]


def test_a_good_model_passes_every_gate() -> None:
    judged = judge(songs(wrong=20), recall=0.05)
    assert list(judged) == ["certificate", "above_majority", "min_recall", "above_champion"]
    assert failed(judged) == []
    assert judged["above_champion"].reason == "there is no champion yet"


def test_a_leak_alone_is_enough_to_fail() -> None:
    judged = judge(songs(), leaks=("song 3 is in train and test", "song 4 too"))
    assert failed(judged) == ["certificate"]
    assert judged["certificate"].reason == "2 leaks: song 3 is in train and test"


def test_no_better_than_the_majority_fails() -> None:
    """Rates above the majority in value, but not with its interval."""
    true = np.array([0] * 12 + [1, 2, 3])
    predicted = np.zeros(15, np.int64)
    predicted[12] = 1
    few = Songs(tuple(map(str, range(15))), true, predicted)
    judged = judge(few)
    assert failed(judged) == ["above_majority"]
    majority = f1_score(true, np.zeros(15), average="macro", zero_division=0)
    assert (
        f1_score(true, predicted, average="macro", zero_division=0) > majority
    )  # the value alone would have passed
    assert f"the majority class has {majority:.3f}" in judged["above_majority"].reason
    assert "on 15 songs" in judged["above_majority"].reason


def test_the_majority_itself_fails() -> None:
    constant = Songs(songs().digests, TRUE, np.zeros(80, np.int64))
    assert "above_majority" in failed(judge(constant))


def test_a_class_that_is_never_found_fails_and_is_named() -> None:
    predicted = np.where(TRUE == 3, 0, TRUE)
    judged = judge(Songs(songs().digests, TRUE, predicted), recall=0.05)
    assert failed(judged) == ["min_recall"]
    assert judged["min_recall"].reason == "lowest recall 0.000 (Q4); at least 0.05 asked"


def test_a_class_without_songs_has_no_recall_to_be_proud_of() -> None:
    true = np.arange(60) % 3
    assert failed(judge(songs(true=true), recall=0.05)) == ["min_recall"]


def test_a_much_worse_candidate_does_not_replace_the_champion() -> None:
    judged = judge(songs(wrong=40), champion=songs(wrong=2))
    assert failed(judged) == ["above_champion"]
    reason = judged["above_champion"].reason
    assert reason.startswith(
        "macro F 0.500 against 0.975 of the champion on 80 shared test songs: -"
    )
    assert reason.endswith("points, which must be above 0")


def test_a_comparison_run_does_not_replace_a_better_champion() -> None:
    """It happened: macro F .650 gave way to .532, because their intervals overlap."""
    true = np.arange(20) % 4
    better, worse = true.copy(), true.copy()
    better[[0, 1, 2, 3, 4, 5, 6]] = [1, 2, 3, 0, 1, 2, 3]
    worse[[0, 1, 2, 3, 8, 9, 10, 11, 12]] = [1, 2, 3, 0, 1, 2, 3, 0, 1]
    names = tuple(f"song{i}" for i in range(20))
    champion, candidate = Songs(names, true, better), Songs(names, true, worse)
    f1 = [f1_score(true, one, average="macro") for one in (better, worse)]
    assert f1 == pytest.approx([0.65, 0.55], abs=0.01)
    judged = judge(candidate, champion)
    assert failed(judged) == ["above_champion"], "it is no worse beyond chance, but no better"
    assert (
        f"macro F {f1[1]:.3f} against {f1[0]:.3f} of the champion"
        in judged["above_champion"].reason
    )


@pytest.mark.parametrize(("champions", "moves"), [(60, True), (40, True), (21, False), (20, False)])
def test_only_one_that_is_better_beyond_chance_replaces_it(champions: int, moves: bool) -> None:
    judged = judge(songs(wrong=20), champion=songs(wrong=champions))
    assert failed(judged) == ([] if moves else ["above_champion"])


def test_the_champion_is_compared_song_by_song_whatever_their_order() -> None:
    """The same champion in another order of songs gives the same numbers."""
    champion = songs(wrong=30)
    order = np.random.default_rng(1).permutation(80)
    shuffled = Songs(
        tuple(champion.digests[i] for i in order), champion.true[order], champion.predicted[order]
    )
    candidate = songs(wrong=10)
    assert judge(candidate, champion) == judge(candidate, shuffled)


def test_only_shared_songs_count_and_too_few_are_no_reason_to_promote() -> None:
    strangers = songs(wrong=60, prefix="other")
    judged = judge(songs(wrong=4), champion=strangers)
    assert failed(judged) == ["above_champion"]
    assert "the champion was tested on 0 of these songs" in judged["above_champion"].reason
    few = Songs(songs().digests[: ENOUGH_SONGS - 1], TRUE[:9], (TRUE[:9] + 1) % 4)
    judged = judge(songs(wrong=0), few)
    assert failed(judged) == ["above_champion"]
    assert "tested on 9 of these songs; at least 10" in judged["above_champion"].reason
    enough = Songs(songs().digests[:40], TRUE[:40], (TRUE[:40] + 1) % 4)
    judged = judge(songs(wrong=4), enough)
    assert failed(judged) == []
    assert "on 40 shared" in judged["above_champion"].reason


def predictions(rows: list[tuple[int, int, str, int, list[float]]]) -> pd.DataFrame:
    """Of (repeat, fold, clip, segment, probabilities); the truth is Q1."""
    return pd.DataFrame(
        {"arch": "scae", "transfer_mode": "full", "repeat": repeat, "clip": clip, "group": clip}
        | {"segment": segment, "quadrant": "Q1", "fold": fold}
        | dict(zip(PROBABILITIES, p, strict=True))
        for repeat, fold, clip, segment, p in rows
    )


def test_an_ensemble_is_the_mean_of_its_repeats_segment_by_segment() -> None:
    """One repeat is sure and wrong, two are less sure and right: their mean is right."""
    wrong, right = [0.2, 0.8, 0, 0, 0.1, 0.3], [0.7, 0.3, 0, 0, 0.9, 0.6]
    rows = [
        (r, 0, clip, s, p)
        for r, p in enumerate((wrong, right, right))
        for clip in "ab"
        for s in (0, 1)
    ]
    found = averaged(predictions(rows))
    assert len(found) == 4
    assert set(found["repeat"]) == {0}
    assert found["q1"].tolist() == pytest.approx([1.6 / 3] * 4)
    assert found["arousal"].tolist() == pytest.approx([1.9 / 3] * 4)
    assert Songs.of(found, {"a": "x", "b": "y"}).predicted.tolist() == [0, 0]


def test_under_folds_a_song_is_predicted_by_its_own_folds_networks_alone() -> None:
    rows = [
        (repeat, fold, clip, 0, [p, 1 - p, 0, 0, 0.5, 0.5])
        for repeat in (0, 1)
        for fold, clip, p in ((0, "a", 0.9), (1, "b", 0.2))
    ]
    found = averaged(predictions(rows)).set_index("clip")
    assert found["q1"].to_dict() == pytest.approx({"a": 0.9, "b": 0.2})
    assert found["fold"].to_dict() == {"a": 0, "b": 1}


def test_scores_of_all_tasks_have_intervals() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 40)
    rows = [(0, 0, f"c{i}", 0, [*row, row[0], row[1]]) for i, row in enumerate(p.tolist())]
    found = task_scores(predictions(rows), 200, rng)
    assert list(found) == ["quadrant", "arousal", "valence"]
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.values())


def test_beside_is_measured_and_names_the_control() -> None:
    rng = np.random.default_rng(0)
    better = beside(songs(wrong=4), songs(wrong=60), "scratch", 300, rng)
    equal = beside(songs(wrong=20), songs(wrong=20), "random_encoder", 300, rng)
    assert better.name == "beats_scratch"
    assert better.passed
    assert better.reason.endswith("points of macro F against scratch")
    assert equal.name == "beats_random_encoder"
    assert not equal.passed


def test_songs_are_decided_by_their_mean_and_known_by_their_content() -> None:
    """Two segments a song: one sure, one unsure of another quadrant; the sure one wins."""
    rows = []
    for clip, quadrant, sure in (("a", "Q2", 1), ("b", "Q4", 3)):
        for segment, (top, p) in enumerate(((sure, 0.94), (0, 0.4))):
            q = np.full(4, (1 - p) / 3)
            q[top] = p
            rows.append(
                dict(zip(PROBABILITIES, (*q, 0.5, 0.5), strict=True))
                | {"arch": "scae", "transfer_mode": "full", "repeat": 0, "clip": clip}
                | {"group": clip, "segment": segment, "quadrant": quadrant}
            )
    found = Songs.of(pd.DataFrame(rows), {"a": "hash of a", "b": "hash of b"})
    assert found.digests == ("hash of a", "hash of b")
    assert found.true.tolist() == found.predicted.tolist() == [1, 3]
    true, predicted = found.at(["hash of b"])
    assert (true.tolist(), predicted.tolist()) == ([3], [3])
