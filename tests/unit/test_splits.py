"""Splits keep groups and audio whole, classes in their shares, and hours as asked."""

import csv
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.model_selection import StratifiedGroupKFold

from recitative.corpora.balance import BalanceConfig, balance, choose_seconds, total_seconds
from recitative.corpora.splits import (
    SplitConfig,
    SplitRow,
    make_splits,
    parts_for_fold,
    read_splits,
    split_role,
    write_splits,
)
from recitative.corpora.stratify import Unit, draw
from recitative.errors import UserError
from recitative.vocabulary import QUADRANTS

ALL = BalanceConfig(speech_hours=None, music_hours=None)
FOLDS = SplitConfig(scheme="grouped_folds")
RNG = np.random.default_rng


@dataclass(frozen=True)
class FakeClip:
    id: str
    seconds: float
    group: str
    quadrant: str | None
    digest: str


def music(clips, artists, shares=(0.25, 0.25, 0.25, 0.25), seed=0, mixed=0.3):
    """Artists who mostly stay in one quadrant, as real ones do."""
    rng = np.random.default_rng(seed)
    home = rng.choice(4, artists, p=shares)
    made = []
    for i in range(clips):
        artist = rng.integers(artists)
        quadrant = rng.choice(4, p=shares) if rng.random() < mixed else home[artist]
        seconds = float(rng.uniform(20, 31))
        made.append(FakeClip(f"m/{i:04}", seconds, f"a{artist}", QUADRANTS[quadrant], f"d{i}"))
    return made


def speech(clips, speakers, seed=0, prefix="s"):
    rng = np.random.default_rng(seed)
    return [
        FakeClip(
            f"{prefix}/{i:05}", float(rng.uniform(2, 16)), f"{i % speakers}", None, f"{prefix}{i}"
        )
        for i in range(clips)
    ]


def corpora(**other):
    index = {
        "speech-eng": speech(400, 20, 1, "eng"),
        "speech-man": speech(300, 15, 2, "man"),
        "music-eng": music(240, 80, seed=3),
        "music-man": music(220, 70, (0.476, 0.157, 0.258, 0.109), seed=4),
    }
    return index | other


def parts_by(clips, rows, key):
    """The parts in which each value of `key` stands."""
    key_of = {clip.id: key(clip) for clip in clips}
    found = defaultdict(set)
    for row in rows:
        found[key_of[row.id]].add(row.split)
    return found


def assert_disjoint(clips, rows, keys=("id", "group", "digest")):
    for name in keys:
        spread = parts_by(clips, rows, lambda clip, name=name: getattr(clip, name))
        assert all(len(parts) == 1 for parts in spread.values()), name


def deviations(clips, rows, part, asked):
    """By how many clips `part` misses `asked` of each quadrant, and how many it may miss.

    Two clips, since groups are whole, or a hundredth of a large class.
    """
    quadrant = {clip.id: clip.quadrant for clip in clips}
    there = Counter(quadrant[row.id] for row in rows if row.split == part)
    whole = Counter(quadrant[row.id] for row in rows)
    return [(abs(there[q] - asked * n), max(2, 0.01 * n)) for q, n in whole.items()]


@st.composite
def any_music(draw):
    """Artists of any number and size, with one quadrant or several, some with another's audio."""
    clips, artists, seed = draw(st.tuples(st.integers(1, 90), st.integers(1, 40), st.integers(0)))
    shares = draw(st.sampled_from([(0.25,) * 4, (0.5, 0.2, 0.2, 0.1), (0.5, 0.5, 0, 0)]))
    made = music(clips, artists, shares, seed, draw(st.sampled_from([0, 0.1, 0.5, 1])))
    copies = draw(st.lists(st.tuples(st.integers(0, 89), st.integers(0, 89)), max_size=8))
    for one, other in copies:
        one, other = one % clips, other % clips
        made[one] = replace(made[one], digest=made[other].digest)
    return made


@given(any_music(), st.integers(0, 5), st.sampled_from(["group", "clip"]))
@settings(max_examples=60, deadline=None)
def test_whatever_the_groups_parts_share_none_and_hold_every_class(clips, seed, group_by):
    split = SplitConfig(group_by=group_by)
    try:
        rows = split_role("music-eng", clips, split, seed)
    except UserError:
        return  # too few groups: what is refused, and why, is tested below
    assert [row.id for row in rows] == sorted(clip.id for clip in clips)
    assert_disjoint(clips, rows, ("group", "digest") if group_by == "group" else ("digest",))
    classes = parts_by(clips, rows, lambda clip: clip.quadrant)
    assert all(parts == {"train", "validation", "test"} for parts in classes.values())


@given(any_music(), st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_whatever_the_groups_folds_test_every_song_once(clips, folds, seed):
    split = SplitConfig(scheme="grouped_folds", folds=folds)
    try:
        rows = split_role("music-man", clips, split, seed)
    except UserError:
        return  # too few groups: what is refused, and why, is tested below
    tested = []
    for fold in range(folds):
        drawn = parts_for_fold("music-man", rows, clips, fold, split, seed)
        assert {row.id for row in drawn} == {clip.id for clip in clips}
        assert_disjoint(clips, drawn)
        classes = parts_by(clips, drawn, lambda clip: clip.quadrant)
        assert all(parts == {"train", "validation", "test"} for parts in classes.values())
        tested += [row.id for row in drawn if row.split == "test"]
    assert sorted(tested) == sorted(clip.id for clip in clips)


@given(st.permutations(range(40)), st.sampled_from(["holdout", "grouped_folds"]))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_index_changes_nothing(order, scheme):
    def some(clips, order):
        return [clips[i] for i in order] + clips[len(order) :]

    index, split = corpora(), SplitConfig(scheme=scheme)
    shuffled = {role: some(clips, order) for role, clips in index.items()}
    balance_to = BalanceConfig(speech_hours=0.5, music_hours=1)
    assert make_splits(index, split, balance_to, 7) == make_splits(shuffled, split, balance_to, 7)


@pytest.mark.parametrize("split", [SplitConfig(), SplitConfig(group_by="clip"), FOLDS])
def test_the_order_of_a_role_changes_nothing(split):
    clips = music(120, 40)
    rows = split_role("music-eng", clips, split, 0)
    assert rows == split_role("music-eng", clips[::-1], split, 0)
    if split is FOLDS:
        one, other = (
            parts_for_fold("music-eng", rows[::step], clips[::step], 1, split, 0)
            for step in (1, -1)
        )
        assert one == other


def test_seeds_differ_and_a_role_does_not_shift_another():
    index = corpora()
    one, _ = make_splits(index, SplitConfig(), ALL, 1)
    two, _ = make_splits(index, SplitConfig(), ALL, 2)
    assert all(one[role] != two[role] for role in one)
    other, _ = make_splits(corpora(**{"music-eng": music(100, 40)}), SplitConfig(), ALL, 1)
    assert {role: other[role] for role in one if role != "music-eng"} == {
        role: rows for role, rows in one.items() if role != "music-eng"
    }


@pytest.mark.parametrize(
    "clips",
    [
        pytest.param(music(900, 600), id="4Q's size"),
        pytest.param(music(818, 400, (0.476, 0.157, 0.258, 0.109)), id="CH-818's"),
        pytest.param(music(60, 20), id="the demo's"),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_classes_keep_their_shares(clips, seed):
    rows = split_role("music-eng", clips, SplitConfig(), seed)
    assert_disjoint(clips, rows)
    for part, asked in (("test", 0.30), ("validation", 0.105), ("train", 0.595)):
        assert all(miss <= may for miss, may in deviations(clips, rows, part, asked)), part


@pytest.mark.parametrize("seed", range(3))
def test_folds_are_no_less_even_than_scikit_learns(seed):
    clips = music(300, 150, (0.476, 0.157, 0.258, 0.109), seed=seed)

    def deviation(fold_of):
        whole = Counter(clip.quadrant for clip in clips)
        counts = Counter((fold_of[clip.id], clip.quadrant) for clip in clips)
        return max(abs(counts[k, q] / whole[q] - 0.2) for k in range(5) for q in whole)

    peer = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    folds = peer.split(clips, [c.quadrant for c in clips], [c.group for c in clips])
    theirs = {clips[i].id: k for k, (_, test) in enumerate(folds) for i in test}
    ours = {row.id: row.fold for row in split_role("music-eng", clips, FOLDS, seed)}
    assert deviation(ours) <= max(deviation(theirs), 0.02)


def test_real_songs_keep_their_shares(real_data):
    table = real_data / "MER_audio_taffc_dataset" / "panda_dataset_taffc_metadata.csv"
    with table.open(encoding="utf-8") as text:
        clips = [
            FakeClip(row["Song"], 30.0, row["Artist"], row["Quadrant"], row["Song"])
            for row in csv.DictReader(text)
        ]
    rows = split_role("music-eng", clips, SplitConfig(), 0)
    assert_disjoint(clips, rows)
    assert all(miss <= may for miss, may in deviations(clips, rows, "test", 0.3))
    folds = Counter(row.fold for row in split_role("music-eng", clips, FOLDS, 0))
    assert max(folds.values()) - min(folds.values()) <= 2


def unit_of(number, held):
    return Unit((f"{number:02}",), np.array([3.0 * (q in held) for q in range(4)]))


@given(st.lists(st.sets(st.integers(0, 3), min_size=1, max_size=4), min_size=3, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_draw_is_refused_only_where_there_is_none(held):
    """Against every subset: groups that mix classes may leave no way to put each in each part."""
    units = [unit_of(number, classes) for number, classes in enumerate(held)]
    present = set().union(*held)

    def fine(inside):
        outside = set(range(len(held))) - set(inside)
        return all(
            any(c in held[i] for i in inside) and sum(c in held[i] for i in outside) >= 2
            for c in present
        )

    sizes = range(1, len(held))
    possible = any(fine(s) for n in sizes for s in itertools.combinations(range(len(held)), n))
    try:
        drawn, rest = draw("music-eng", units, 0.3, RNG(0), leave=2)
    except UserError:
        assert not possible
    else:
        assert fine([int(unit.ids[0]) for unit in drawn])
        assert len(drawn) + len(rest) == len(units)


def test_a_draw_leaves_enough_for_the_parts_that_follow():
    drawn, rest = draw("music-eng", [unit_of(i, {0}) for i in range(4)], 0.9, RNG(0), leave=2)
    assert (len(drawn), len(rest)) == (2, 2)


def test_groups_that_mix_the_classes_too_much_are_refused():
    """Every quadrant has three artists of four, and yet no three parts can hold every quadrant."""
    clips = [
        FakeClip(f"{artist}{lacks}", 30, artist, quadrant, f"{artist}{lacks}")
        for artist, lacking in zip("abcd", reversed(QUADRANTS), strict=True)
        for lacks, quadrant in enumerate(QUADRANTS)
        if quadrant != lacking
    ]
    with pytest.raises(UserError, match=r"index/music-eng.csv: its groups mix the classes"):
        split_role("music-eng", clips, SplitConfig(), 0)


def test_a_class_with_too_few_groups_is_refused():
    clips = [clip for clip in music(80, 40) if clip.quadrant != "Q4"]
    few = [FakeClip(f"q4/{i}", 30, f"other{i % 4}", "Q4", f"q4-{i}") for i in range(12)]
    split_role("music-eng", clips + few, SplitConfig(), 0)
    with pytest.raises(UserError, match=r"index/music-eng.csv: class Q4 has 4 .* 5 .*split.folds"):
        split_role("music-eng", clips + few, FOLDS, 0)
    split_role("music-eng", clips + few, SplitConfig(scheme="grouped_folds", folds=4), 0)
    with pytest.raises(UserError, match="class Q4 has 2 .* 3 .*add clips by other artists"):
        split_role("music-eng", clips + [c for c in few if c.group < "other2"], SplitConfig(), 0)


def test_one_speaker_cannot_be_split_unless_by_clip():
    clips = speech(50, 1)
    with pytest.raises(UserError, match=r"index/speech-man.csv: .* 1 group.* 2 .*other speakers"):
        split_role("speech-man", clips, SplitConfig(), 0)
    assert len(split_role("speech-man", clips, SplitConfig(group_by="clip"), 0)) == 50


def test_groups_that_share_audio_go_one_way():
    clips = music(90, 30)
    chain = [replace(c, digest=f"shared{i // 2}") for i, c in enumerate(clips[:8])]
    chain += [replace(c, digest=f"shared{i // 2}", id=f"{c.id}b") for i, c in enumerate(clips[1:9])]
    everything = chain + clips[8:]
    for seed in range(5):
        assert_disjoint(everything, split_role("music-eng", everything, SplitConfig(), seed))


def test_the_released_leak_puts_every_test_song_back():
    """Protocol C11: 248 of 248 test songs fall back into train and validation."""
    clips = music(818, 400)
    split = SplitConfig(group_by="clip", leak="released")
    rows = split_role("music-man", clips, split, 0)
    test = {row.id for row in rows if row.split == "test"}
    again = {row.id for row in rows if row.split != "test"}
    assert len(test) == pytest.approx(0.3 * 818, abs=3)
    assert again == {clip.id for clip in clips} > test


@given(st.floats(0.1, 0.95), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_hours_are_met_within_a_percent(share, seed):
    clips = music(200, 60, seed=seed)
    hours = share * total_seconds(clips) / 3600
    chosen, notes = balance("music-eng", clips, hours, 0.01, seed)
    assert notes == []
    assert total_seconds(chosen) / 3600 == pytest.approx(hours, rel=0.01)
    for quadrant in QUADRANTS:
        whole = total_seconds([c for c in clips if c.quadrant == quadrant])
        got = total_seconds([c for c in chosen if c.quadrant == quadrant])
        assert abs(got - share * whole) <= 3 * 31  # its share, but for a few clips of 31 s


def test_balance_keeps_the_speakers_many():
    clips = speech(2000, 40)
    chosen, _ = balance("speech-eng", clips, 0.3, 0.01, 0)
    spoken = Counter(clip.group for clip in chosen)
    assert len(spoken) == 40
    assert max(spoken.values()) - min(spoken.values()) <= 2


def test_hours_that_are_not_there_are_said():
    clips = speech(40, 4)
    chosen, notes = balance("speech-man", clips, 3, 0.01, 0)
    assert chosen == sorted(clips, key=lambda clip: clip.id)
    assert len(notes) == 1
    assert "speech-man: 3 h asked, 0." in notes[0]
    long = [FakeClip(str(i), 3600, str(i), None, str(i)) for i in range(4)]
    chosen, notes = balance("speech-man", long, 1.4, 0.01, 0)
    assert len(chosen) == 1
    assert "too long" in notes[0]


def test_the_shortest_choice_is_one_clip():
    assert len(choose_seconds(speech(5, 5), 0.1, RNG(0))) == 1


@pytest.mark.parametrize("hours", [None, 0.4])
def test_the_mix_is_half_and_half_and_keeps_every_part(hours):
    index = corpora()
    balance_to = BalanceConfig(speech_hours=hours, music_hours=None)
    splits, notes = make_splits(index, SplitConfig(), balance_to, 0)
    assert not [note for note in notes if "mix" in note]
    seconds = {clip.id: clip.seconds for clips in index.values() for clip in clips}
    parts = {row.id: row.split for role in ("speech-eng", "speech-man") for row in splits[role]}
    mix = splits["speech-mix"]
    assert all(parts[row.id] == row.split for row in mix)
    for part in ("train", "validation"):
        spoken = [row.id for row in mix if row.split == part]
        eng = sum(seconds[i] for i in spoken if i.startswith("eng"))
        assert eng == pytest.approx(sum(seconds[i] for i in spoken) / 2, rel=0.01)
    if hours is not None:
        total = sum(seconds[row.id] for row in mix)
        assert total / 3600 == pytest.approx(hours, rel=0.01)


def test_a_mix_that_falls_short_is_said():
    hours = BalanceConfig(speech_hours=1, music_hours=None)
    index = corpora(**{"speech-man": speech(60, 12, 5, "man")})
    _, notes = make_splits(index, SplitConfig(), hours, 0)
    assert [note for note in notes if note.startswith("speech-mix: 1 h asked, 0.")]
    long = [FakeClip(f"long/{i}", 900, str(i), None, str(i)) for i in range(9)]
    _, notes = make_splits(corpora(**{"speech-man": long}), SplitConfig(), hours, 0)
    assert [note for note in notes if "of its duration is English" in note]


def test_speech_is_split_by_its_seconds():
    clips = speech(2000, 60)
    seconds = {clip.id: clip.seconds for clip in clips}
    for scheme in ("holdout", "grouped_folds"):
        rows = split_role("speech-eng", clips, SplitConfig(scheme=scheme), 0)
        held = sum(seconds[row.id] for row in rows if row.split == "validation")
        assert held / total_seconds(clips) == pytest.approx(0.15, abs=0.005)
        assert {row.fold for row in rows} == {None}


def test_speakers_too_large_for_the_share_are_said():
    _, notes = make_splits(corpora(**{"speech-man": speech(60, 2, 5, "m")}), SplitConfig(), ALL, 0)
    assert [note for note in notes if note.startswith("speech-man: validation holds")]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"music-eng": []}, "index/music-eng.csv: no clips"),
        ({"music-eng": music(90, 40) + music(1, 1)}, "m/0000 stands there twice"),
        ({"music-eng": speech(9, 9)}, "quadrant None; known: Q1"),
        ({"speech-man": speech(90, 9, 0, "eng")}, "eng/00000 stands in both"),
    ],
)
def test_an_index_that_cannot_be_split_is_refused(other, message):
    with pytest.raises(UserError, match=message):
        make_splits(corpora(**other), SplitConfig(), ALL, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"fold": 5},
        {"folds": 1},
        {"folds": 21},
        {"leak": "released", "scheme": "grouped_folds"},
        {"music_test": 0},
        {"speech_validation": 1},
        {"scheme": "kfold"},
        {"seed": 1},
    ],
)
def test_wrong_parameters_are_refused(values):
    with pytest.raises(ValidationError):
        SplitConfig.model_validate(values)


@pytest.mark.parametrize("hours", [0, -1, "three"])
def test_wrong_hours_are_refused(hours):
    with pytest.raises(ValidationError):
        BalanceConfig.model_validate({"speech_hours": hours, "music_hours": None})


@pytest.mark.parametrize("split", [SplitConfig(), FOLDS])
def test_what_is_written_is_read(tmp_path: Path, split):
    rows = split_role("music-eng", music(90, 40), split, 0)
    write_splits(tmp_path, "music-eng", rows)
    assert read_splits(tmp_path, "music-eng") == rows
    header = (tmp_path / "music-eng.csv").read_text().splitlines()[0]
    assert header == ("id,split,fold" if split is FOLDS else "id,split")


def test_another_fold_may_be_the_one_in_the_file():
    clips = music(90, 40)
    rows = split_role("music-eng", clips, FOLDS, 0)
    third = split_role("music-eng", clips, SplitConfig(scheme="grouped_folds", fold=3), 0)
    assert third == parts_for_fold("music-eng", rows, clips, 3, FOLDS, 0)
    with pytest.raises(UserError, match="no fold 5"):
        parts_for_fold("music-eng", rows, clips, 5, FOLDS, 0)


@pytest.mark.parametrize("line", ["a,training", "a", ",train", "a,train,x"])
def test_a_broken_file_is_refused(tmp_path: Path, line):
    (tmp_path / "music-eng.csv").write_text(f"id,split,fold\n{line}\n")
    with pytest.raises(UserError, match=r"music-eng.csv:2: not a split: .*run `recitative split`"):
        read_splits(tmp_path, "music-eng")


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="run `recitative split` first"):
        read_splits(tmp_path, "music-eng")
    write_splits(tmp_path, "music-eng", [SplitRow("a", "train")])
    assert read_splits(tmp_path, "music-eng") == [SplitRow("a", "train")]
