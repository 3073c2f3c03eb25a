"""Every gate of a promotion alone, and what is only said beside them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from recitative.evaluation.metrics import PROBABILITIES
from recitative.evaluation.promotion import ENOUGH_SONGS, Gate, Songs, beside, gates

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
    return {gate.name: gate for gate in gates(candidate, champion, leaks, recall, 300, rng)}


def failed(judged: dict[str, Gate]) -> list[str]:
    return [name for name, gate in judged.items() if not gate.passed]


def test_a_good_model_passes_every_gate() -> None:
    judged = judge(songs(wrong=20), recall=0.05)
    assert list(judged) == ["certificate", "above_majority", "min_recall", "not_below_champion"]
    assert failed(judged) == []
    assert judged["not_below_champion"].reason == "there is no champion yet"


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
    assert failed(judged) == ["not_below_champion"]
    reason = judged["not_below_champion"].reason
    assert reason.startswith("-")
    assert "on 80 shared test songs" in reason


@pytest.mark.parametrize("champions", [40, 20, 18])
def test_a_better_or_equal_candidate_does(champions: int) -> None:
    judged = judge(songs(wrong=20), champion=songs(wrong=champions))
    assert failed(judged) == []


def test_the_champion_is_compared_song_by_song_whatever_their_order() -> None:
    """The same champion in another order of songs gives the same numbers."""
    champion = songs(wrong=30)
    order = np.random.default_rng(1).permutation(80)
    shuffled = Songs(
        tuple(champion.digests[i] for i in order), champion.true[order], champion.predicted[order]
    )
    candidate = songs(wrong=10)
    assert judge(candidate, champion) == judge(candidate, shuffled)


def test_only_shared_songs_count_and_too_few_say_nothing() -> None:
    """A champion that is perfect on other songs keeps nobody out."""
    strangers = songs(prefix="other")
    judged = judge(songs(wrong=40), champion=strangers)
    assert failed(judged) == []
    assert "not comparable: only 0 test songs" in judged["not_below_champion"].reason
    few = Songs(songs().digests[: ENOUGH_SONGS - 1], TRUE[:9], TRUE[:9])
    assert "only 9 test songs" in judge(songs(wrong=40), few)["not_below_champion"].reason
    enough = Songs(songs().digests[:40], TRUE[:40], TRUE[:40])
    assert "on 40 shared" in judge(songs(wrong=40), enough)["not_below_champion"].reason


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
