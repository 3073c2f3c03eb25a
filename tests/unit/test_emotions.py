"""Emotional speech: from categories to labels, and what a model is told of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
import trees
from recitative.corpora.balance import BalanceConfig
from recitative.corpora.base import Clip, IndexedClip, Problem, parse_dataset_config
from recitative.corpora.certificate import certify, find_leaks
from recitative.corpora.emotions import read_labels, with_quadrants, write_labels
from recitative.corpora.indexing import index_role
from recitative.corpora.splits import SplitConfig, make_splits, split_role
from recitative.errors import UserError
from recitative.learning.config import PretrainConfig
from recitative.learning.emotions import emotion_codes, permuted
from recitative.learning.pretraining import Speech, prepare
from recitative.models.config import EmotionConfig

TABLE = {"happy": "Q1", "angry": "Q2", "sad": "Q3", "calm": "Q4", "neutral": "none"}
CONFIG = PretrainConfig(epochs=1, batch_size=8, learning_rate=1e-3, arch="emotion")


def clip(name: str, emotion: str | None, **more: Any) -> Clip:
    return Clip(f"corpus/{name}", Path(f"{name}.wav"), "s1", "eng", emotion=emotion, **more)


# From category to quadrant.


def test_a_category_gives_its_quadrant_and_neutral_is_counted() -> None:
    clips = [clip("a", "happy"), clip("b", "neutral"), clip("c", "neutral"), clip("d", "sad")]
    first, second, problem = with_quadrants(clips, "emotion-eng", TABLE)
    assert isinstance(first, Clip)
    assert isinstance(second, Clip)
    assert (first.quadrant, second.quadrant) == ("Q1", "Q3")
    assert problem == Problem("b.wav", "neutral: no quadrant, and no ratings; 1 more like it")


def test_ratings_keep_a_clip_that_has_no_quadrant() -> None:
    [kept] = with_quadrants([clip("a", "neutral", arousal=0.4)], "emotion-eng", TABLE)
    assert isinstance(kept, Clip)
    assert kept.quadrant is None
    assert emotion_codes(kept.quadrant, kept.arousal, kept.valence) == (-1, 1, -1)


def test_ratings_without_categories_are_labels_too() -> None:
    [kept] = with_quadrants([clip("a", None, quadrant="Q2", arousal=1.0)], "emotion-eng", TABLE)
    assert isinstance(kept, Clip)
    assert kept.quadrant == "Q2"


def test_a_category_that_is_not_in_the_table_is_one_line() -> None:
    with pytest.raises(UserError) as raised:
        list(with_quadrants([clip("a", "wistful")], "emotion-eng", TABLE))
    message = str(raised.value)
    assert "a.wav" in message
    assert "'wistful'" in message
    assert "params.yaml" in message
    assert "`emotions`" in message
    assert "\n" not in message


def test_the_index_has_the_quadrants(tmp_path: Path) -> None:
    section = parse_dataset_config("emotion-eng", trees.esd(tmp_path))
    index = index_role("emotion-eng", section, tmp_path, 1, TABLE)
    assert [one.quadrant for one in index.clips[:4]] == ["Q2", "Q4", "Q1", "Q3"]
    with pytest.raises(UserError, match="'angry' is not in the table"):
        index_role("emotion-eng", section, tmp_path, 1)


def test_labels_survive_their_file(tmp_path: Path) -> None:
    index = [indexed("a", "s1", "Q1"), replace(indexed("b", "s1", None), arousal=0.25)]
    write_labels(tmp_path, index)
    assert read_labels(tmp_path) == {"x/a": ("Q1", None, None), "x/b": (None, 0.25, None)}
    assert read_labels(tmp_path / "elsewhere") == {}


# Splits.


def indexed(name: str, group: str, quadrant: str | None, corpus: str = "x") -> IndexedClip:
    return IndexedClip(
        f"{corpus}/{name}", f"{name}.wav", 3.0, group, "eng", quadrant, None, None, 16000, 1, name
    )


def speakers(count: int, corpus: str = "x", first: int = 0) -> list[IndexedClip]:
    return [
        indexed(f"{corpus}{s}-{q}", f"s{s}", f"Q{q + 1}", corpus)
        for s in range(first, first + count)
        for q in range(4)
    ]


def test_speakers_of_emotions_are_in_one_part() -> None:
    clips = speakers(8)
    rows = split_role("emotion-eng", clips, SplitConfig(), 0)
    parts = {row.id: row.split for row in rows}
    assert set(parts.values()) == {"train", "validation"}
    for speaker in {one.group for one in clips}:
        assert len({parts[one.id] for one in clips if one.group == speaker}) == 1


def test_emotional_speech_of_one_speaker_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"index/emotion-eng.csv: the role has 1 group\(s\)"
    ) as raised:
        split_role("emotion-eng", speakers(1), SplitConfig(), 0)
    assert "add clips by other speakers" in str(raised.value)
    assert "\n" not in str(raised.value)


def corpora() -> dict[str, list[IndexedClip]]:
    roles = ("speech-eng", "speech-man", "music-eng", "music-man", "emotion-eng", "emotion-man")
    return {role: speakers(8, role) for role in roles}


def test_optional_roles_are_split_mixed_and_certified_where_they_are_there() -> None:
    balance = BalanceConfig(speech_hours=None, music_hours=None)
    index = corpora()
    splits, _ = make_splits(index, SplitConfig(), balance, 0)
    certificate = certify(index, splits, SplitConfig(), 0)
    assert {"emotion-eng", "emotion-man", "emotion-mix"} <= set(certificate["roles"])
    assert not certificate["leaks"]
    mixed = {row.id: row.split for row in splits["emotion-mix"]}
    alone = {row.id: row.split for role in index for row in splits[role]}
    assert mixed
    assert all(alone[name] == part for name, part in mixed.items())
    del index["emotion-man"]
    fewer, _ = make_splits(index, SplitConfig(), balance, 0)
    assert fewer == {
        r: rows for r, rows in splits.items() if r not in ("emotion-man", "emotion-mix")
    }
    assert not certify(index, fewer, SplitConfig(), 0)["leaks"]


def test_actors_who_speak_and_sing_must_not_be_the_same() -> None:
    index = corpora()
    index["emotion-eng"], index["music-eng"] = speakers(8, "ravdess"), speakers(8, "ravdess", 7)
    index["music-eng"] = [
        replace(c, id=c.id + "s", digest=c.digest + "s") for c in index["music-eng"]
    ]
    balance = BalanceConfig(speech_hours=None, music_hours=None)
    splits, _ = make_splits(index, SplitConfig(), balance, 0)
    assert find_leaks(index, splits, SplitConfig(), 0) == [
        "group ravdess/s7 is in emotion-eng and in music-eng"
    ]


def test_two_tables_may_name_their_groups_alike() -> None:
    index = corpora()
    for role, folder in (("emotion-eng", "said"), ("music-eng", "sung")):
        index[role] = [
            replace(
                one, id=f"table/{role}{one.id}", path=f"{folder}/{one.path}", digest=role + one.id
            )
            for one in index[role]
        ]
    balance = BalanceConfig(speech_hours=None, music_hours=None)
    splits, _ = make_splits(index, SplitConfig(), balance, 0)
    assert not find_leaks(index, splits, SplitConfig(), 0)


def test_a_table_of_ones_own_may_have_categories(tmp_path: Path) -> None:
    section = trees.table(tmp_path) | {"emotion_column": "felt"}
    names = [f"söngs {group}/歌 0.wav" for group in range(4)]
    rows = [(name, f"g{i}", "eng", list(TABLE)[i].upper()) for i, name in enumerate(names)]
    columns = ("path", "group", "language", "felt")
    trees.write_rows(tmp_path / "my corpus/clips.csv", columns, rows)
    config = parse_dataset_config("emotion-eng", section)
    index = index_role("emotion-eng", config, tmp_path, 1, TABLE)
    assert [one.quadrant for one in index.clips] == ["Q1", "Q2", "Q3", "Q4"]


# What a model is told.


def test_codes_follow_ratings_first_and_then_the_quadrant() -> None:
    assert emotion_codes("Q2", None, None) == (1, 1, 0)
    assert emotion_codes("Q2", -0.1, None) == (1, 0, 0)
    assert emotion_codes(None, 0.0, 0.2) == (-1, -1, 1)


def test_permuted_labels_are_the_same_labels_of_other_training_clips() -> None:
    labels = {f"c{i:02}": emotion_codes(f"Q{i % 4 + 1}", None, None) for i in range(40)}
    train = sorted(labels)[:32]
    shuffled = permuted(labels, train, np.random.default_rng(0))
    assert {name for name in labels if shuffled[name] != labels[name]} <= set(train)
    assert shuffled != labels
    assert sorted(shuffled[name] for name in train) == sorted(labels[name] for name in train)


def emotional(folder: Path) -> Speech:
    store = tiny.store(folder, {f"c{i:02}": 9 for i in range(40)})
    labels = {f"c{i:02}": emotion_codes(f"Q{i % 4 + 1}", None, None) for i in range(40)}
    names = sorted(labels)
    return Speech(store, {"train": names[:32], "validation": names[32:]}, 5, 2, labels)


def test_the_control_differs_from_its_twin_in_the_training_labels_alone(tmp_path: Path) -> None:
    speech = emotional(tmp_path)
    made = {
        arch: prepare(
            speech, CONFIG.model_copy(update={"arch": arch}), tiny.ENCODER, EmotionConfig(), 7
        )
        for arch in ("emotion", "shuffled_emotions")
    }
    twin, control = made.values()
    assert not tiny.differing(twin.model.state_dict(), control.model.state_dict())
    assert twin.config == control.config
    for part, same in (("train", False), ("validation", True)):
        one, two = (
            getattr(m, part).take(np.arange(getattr(m, part).count)) for m in (twin, control)
        )
        assert torch.equal(one["x"], two["x"])
        assert torch.equal(one["quadrant"], two["quadrant"]) is same
        # All segments of a clip have one label, and the three labels agree.
        assert torch.equal(two["arousal"], (two["quadrant"] < 2).long())
        assert len(set(zip(two["clip"].tolist(), two["quadrant"].tolist(), strict=True))) == len(
            set(two["clip"].tolist())
        )


def test_an_unknown_label_takes_no_part_in_its_head() -> None:
    model: Any = tiny.pretraining_model("emotion").eval()
    batch = tiny.example_batch("emotion", 8)
    whole = model.losses(batch)
    for task in ("quadrant", "arousal", "valence"):
        masked = batch | {task: torch.full((8,), -1)}
        losses = model.losses(masked)
        assert float(losses[f"{task}_loss"].detach()) == 0
        torch.testing.assert_close(losses["loss"], whole["loss"] - whole[f"{task}_loss"])
    some = batch | {"quadrant": torch.where(torch.arange(8) < 5, batch["quadrant"], -1)}
    five = {name: value[:5] for name, value in batch.items()}
    torch.testing.assert_close(
        model.losses(some)["quadrant_loss"], model.losses(five)["quadrant_loss"]
    )
