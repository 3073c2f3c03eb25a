"""The index: what is measured, what is refused, and that a table comes back as it was written."""

import hashlib
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import trees
from recitative.corpora.base import Clip, Problem, datasets, parse_dataset_config
from recitative.corpora.indexing import (
    IndexedClip,
    IndexedRating,
    RoleIndex,
    index_role,
    read_index,
    write_index,
)
from recitative.corpora.layout import natural_key
from recitative.corpora.quadrants import (
    NumericConfig,
    is_tie,
    label_quadrants,
    quadrant_of,
    threshold_of,
)
from recitative.errors import UserError
from recitative.files import read_csv
from recitative.vocabulary import QUADRANTS

EMOTIONS = {"happy": "Q1", "angry": "Q2", "sad": "Q3", "calm": "Q4", "neutral": "none"}


def index(role: str, section: dict[str, Any], data: Path) -> RoleIndex:
    return index_role(role, parse_dataset_config(role, section), data, 2, EMOTIONS)


def own(data: Path, *names: str) -> dict[str, Any]:
    """A speech table of files that the test has put into ``data/own``."""
    rows = [(name, f"s{i}", "eng") for i, name in enumerate(names)]
    trees.write_rows(data / "own/clips.csv", ("path", "group", "language"), rows)
    return {"adapter": "table", "folder": "own", "language": "eng"}


def test_an_indexed_clip_is_what_the_file_is(tmp_path: Path) -> None:
    path = trees.write_tone(tmp_path / "own/ü b.flac", seconds=0.5, sample_rate=8000)
    stereo = np.tile(trees.tone("stereo")[:, None], (1, 8))
    soundfile.write(tmp_path / "own/eight.wav", stereo, 192000)
    first, second = index("speech-eng", own(tmp_path, "ü b.flac", "eight.wav"), tmp_path).clips
    assert (first.id, second.id) == ("table/eight.wav", "table/ü b.flac")
    assert (first.channels, first.sample_rate, first.seconds) == (8, 192000, 4800 / 192000)
    assert second == IndexedClip(
        id="table/ü b.flac",
        path="own/ü b.flac",
        seconds=0.5,
        group="s0",
        language="eng",
        quadrant=None,
        arousal=None,
        valence=None,
        sample_rate=8000,
        channels=1,
        digest=hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(),
    )


def test_a_renamed_copy_has_the_same_digest_and_no_other_file_has(tmp_path: Path) -> None:
    section = trees.librispeech(tmp_path)
    first, other, *_ = sorted((tmp_path / "LibriSpeech").rglob("*.flac"))
    other.write_bytes(first.read_bytes())
    digests = [clip.digest for clip in index("speech-eng", section, tmp_path).clips]
    assert len(digests) == 12
    assert len(set(digests)) == 11


def test_order_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    config = parse_dataset_config("music-man", trees.ch818(tmp_path))
    assert index_role("music-man", config, tmp_path, 1) == index_role(
        "music-man", config, tmp_path, 4
    )


def unknown_length(path: Path) -> None:
    """A FLAC whose header states no length, as an encoder writes it to a pipe."""
    content = bytearray(trees.write_tone(path).read_bytes())
    content[21] &= 0xF0  # STREAMINFO: the low 36 bits from byte 21 on are the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16000)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("bad.wav", lambda path: path.write_bytes(b""), "unreadable: an empty file"),
        ("bad.mp3", lambda path: path.write_bytes(b""), "unreadable: an empty file"),
        ("bad.flac", lambda path: path.write_bytes(b"no audio" * 99), "unreadable: "),
        ("bad.wav", no_samples, "unreadable: no samples"),
        ("bad.flac", unknown_length, "unreadable: its header does not state its length"),
        ("bad.mp3", dangling, "unreadable: "),
    ],
)
def test_a_bad_header_is_a_problem(name: str, spoil: Any, reason: str, tmp_path: Path) -> None:
    section = trees.emotion_4q(tmp_path, artists=1)
    bad = tmp_path / "MER_audio_taffc_dataset/Q1/MT0000000000.mp3"
    bad.unlink()
    bad = bad.with_suffix(Path(name).suffix)
    spoil(bad)
    found = index("music-eng", section, tmp_path)
    assert [clip.id for clip in found.clips] == [f"emotion_4q/MT000000000{i}" for i in (1, 2)]
    [problem] = found.problems
    assert problem.path == f"MER_audio_taffc_dataset/Q1/MT0000000000{bad.suffix}"
    assert problem.reason.startswith(reason)
    assert problem.reason != "unreadable: "
    assert not problem.kept
    assert {rating.id for rating in found.ratings} == {clip.id for clip in found.clips}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_a_problem(tmp_path: Path) -> None:
    section = trees.librispeech(tmp_path)
    path = next((tmp_path / "LibriSpeech").rglob("*.flac"))
    path.chmod(stat.S_IWUSR)
    [problem] = index("speech-eng", section, tmp_path).problems
    assert problem.reason.startswith("unreadable")


def test_a_name_that_is_no_utf_8_is_a_problem(tmp_path: Path) -> None:
    section = trees.librispeech(tmp_path)
    folder = tmp_path / "LibriSpeech/train-clean-100/19/198"
    try:
        os.rename(folder / "19-198-0000.flac", os.fsencode(folder) + b"/\xff.flac")
    except OSError:
        pytest.skip("this file system refuses such names")
    found = index("speech-eng", section, tmp_path)
    write_index(found, tmp_path / "index")
    [row] = read_csv(tmp_path / "index/speech-eng.problems.csv")
    assert row["path"] == "LibriSpeech/train-clean-100/19/198/\ufffd.flac"


@pytest.mark.parametrize("suffix", ["wav", "aiff"])
def test_a_file_that_lost_its_end_is_left_out(suffix: str, tmp_path: Path) -> None:
    path = trees.write_tone(tmp_path / f"own/a.{suffix}", seconds=1)
    whole = trees.write_tone(tmp_path / "own/b.wav", seconds=1)
    section = own(tmp_path, path.name, whole.name)
    assert not index("speech-eng", section, tmp_path).problems
    path.write_bytes(path.read_bytes()[:16000])
    found = index("speech-eng", section, tmp_path)
    [problem] = found.problems
    assert [clip.id for clip in found.clips] == ["table/b.wav"]
    assert not problem.kept
    assert problem.reason.startswith("truncated: ")


def test_two_clips_with_one_id(tmp_path: Path) -> None:
    section = trees.librispeech(tmp_path)
    copy = tmp_path / "LibriSpeech/dev-clean/19/198/19-198-0000.flac"
    trees.write_tone(copy)
    with pytest.raises(UserError) as error:
        index("speech-eng", section, tmp_path)
    assert str(copy) in str(error.value)
    assert "'librispeech/19-198-0000'" in str(error.value)


def test_one_file_in_two_rows_of_a_table(tmp_path: Path) -> None:
    trees.write_tone(tmp_path / "own/a.wav")
    with pytest.raises(UserError, match=r"both are clip 'table/a\.wav'"):
        index("speech-eng", own(tmp_path, "a.wav", "./a.wav"), tmp_path)


def test_music_without_a_label_is_a_problem_and_speech_is_none(tmp_path: Path) -> None:
    section = trees.table(tmp_path)
    text = (tmp_path / "my corpus/clips.csv").read_text().replace("eng,Q1", "eng,")
    (tmp_path / "my corpus/clips.csv").write_text(text)
    assert len(index("speech-eng", section, tmp_path).clips) == 8
    found = index("music-eng", section, tmp_path)
    assert [problem.reason for problem in found.problems] == [
        "no quadrant, and no arousal and valence"
    ] * (8 - len(found.clips))
    assert {clip.quadrant for clip in found.clips} == {"Q2", "Q3", "Q4"}


def test_a_role_in_another_language_than_its_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"datasets\.music-eng\.language: 'man'.*'eng'"):
        index("music-eng", trees.ch818(tmp_path, 1, 1), tmp_path)


def test_no_clip_left(tmp_path: Path) -> None:
    section = own(tmp_path, "nowhere.wav")
    with pytest.raises(UserError, match=r"own: no clip can be used for speech-eng.*nowhere\.wav"):
        index("speech-eng", section, tmp_path)


def test_round_trip_and_columns(tmp_path: Path) -> None:
    sections = trees.grow(tmp_path)
    for role, section in sections.items():
        found = index(role, section, tmp_path)
        write_index(found, tmp_path / "index")
        assert read_index(tmp_path / "index", role) == found.clips
        header = (tmp_path / f"index/{role}.csv").read_text().splitlines()[0]
        assert header == (
            "id,path,seconds,group,language,quadrant,arousal,valence,sample_rate,channels,digest"
        )
        for clip in found.clips:
            assert (tmp_path / clip.path).is_file()
    names = sorted(path.name for path in (tmp_path / "index").iterdir())
    assert names == sorted(
        [f"{role}{kind}.csv" for role in sections for kind in ("", ".problems")]
        + ["music-eng.ratings.csv", "music-man.ratings.csv"]
    )


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
number = st.floats(-10, 10)


@given(st.lists(st.tuples(text, text, st.floats(0.01, 1e5), number, number), max_size=5))
def test_any_index_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float, float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    clips = [
        IndexedClip(name, f"{name}.wav", seconds, group, "man", "Q4", a, v, 22050, 2, "0" * 32)
        for name, group, seconds, a, v in rows
    ]
    problems = [Problem(name, group, kept=a > 0) for name, group, _, a, _ in rows]
    write_index(RoleIndex("music-man", clips, problems, []), folder)
    assert read_index(folder, "music-man") == clips
    written = read_csv(folder / "music-man.problems.csv")
    assert written == [asdict(p) | {"kept": str(p.kept)} for p in problems]


def test_ratings_are_written_and_stale_ones_go(tmp_path: Path) -> None:
    clips = index("music-eng", trees.emotion_4q(tmp_path), tmp_path)
    write_index(clips, tmp_path / "index")
    rows = read_csv(tmp_path / "index/music-eng.ratings.csv")
    assert len(rows) == 24 * 3
    assert rows[0] == {
        "id": "emotion_4q/MT0000000000",
        "rater": "r0",
        "arousal": "3.0",
        "valence": "3.0",
    }
    assert clips.ratings[0] == IndexedRating("emotion_4q/MT0000000000", "r0", 3, 3)
    write_index(replace(clips, ratings=[]), tmp_path / "index")
    assert not (tmp_path / "index/music-eng.ratings.csv").exists()


def test_no_index_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"music-eng\.csv.*recitative index"):
        read_index(tmp_path, "music-eng")


def test_a_path_outside_data_is_found_again_behind_a_link(tmp_path: Path) -> None:
    trees.write_tone(tmp_path / "store/songs/x.wav")
    own(tmp_path / "store/deep", "../../songs/x.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/own").symlink_to(tmp_path / "store/deep/own")
    section = {"adapter": "table", "folder": "own", "language": "eng"}
    [clip] = index("speech-eng", section, tmp_path / "data").clips
    assert (tmp_path / "data" / clip.path).samefile(tmp_path / "store/songs/x.wav")
    assert not clip.path.startswith("/")


def test_natural_order() -> None:
    names = ["10", "9", "a10b2", "a10b10", "a9", "09", "²", ""]
    assert sorted(names, key=natural_key) == ["", "09", "9", "10", "a9", "a10b2", "a10b10", "²"]


# quadrants


@given(number, number, st.sampled_from(["positive", "negative", "drop"]))
def test_quadrant_has_the_signs_of_its_numbers(arousal: float, valence: float, ties: Any) -> None:
    quadrant = quadrant_of(arousal, valence, 0, 0, ties)
    if ties == "drop" and (is_tie(arousal, 0) or is_tie(valence, 0)):
        assert quadrant is None
        return
    assert quadrant in QUADRANTS
    up = ties == "positive"
    # The definitions of the protocol: A+ = Q1, Q2; V+ = Q1, Q4.
    assert (quadrant in ("Q1", "Q2")) == (up if is_tie(arousal, 0) else arousal > 0)
    assert (quadrant in ("Q1", "Q4")) == (up if is_tie(valence, 0) else valence > 0)


def test_arousal_and_valence_are_not_swapped() -> None:
    assert quadrant_of(1, -1, 0, 0, "drop") == "Q2"
    assert quadrant_of(-1, 1, 0, 0, "drop") == "Q4"
    assert quadrant_of(3, 3, 5, 1, "drop") == "Q4"
    assert quadrant_of(3, 3, 1, 5, "drop") == "Q2"


def test_a_mean_that_is_zero_but_for_rounding_is_a_tie() -> None:
    assert (0.1 + 0.2 - 0.3) / 3 != 0
    assert quadrant_of((0.1 + 0.2 - 0.3) / 3, 1, 0, 0, "drop") is None


@given(st.lists(number, min_size=1))
def test_thresholds(values: list[float]) -> None:
    assert threshold_of(values, "zero") == 0
    assert threshold_of(values, "mean") == pytest.approx(np.mean(values), abs=1e-9)
    assert threshold_of(values, "median") == pytest.approx(np.median(values), abs=1e-9)


@given(st.lists(st.tuples(number, number)), st.sampled_from(["drop", "positive", "negative"]))
def test_every_clip_is_labelled_or_told_of(values: list[tuple[float, float]], ties: Any) -> None:
    clips = [
        Clip(str(i), Path(str(i)), "g", "man", arousal=a, valence=v)
        for i, (a, v) in enumerate(values)
    ]
    config = NumericConfig(adapter="x", folder="x", language="man", threshold="median", ties=ties)
    items = list(label_quadrants(clips, config))
    labelled = [item for item in items if isinstance(item, Clip)]
    dropped = [item.path for item in items if isinstance(item, Problem) and not item.kept]
    assert [clip.id for clip in clips] == sorted([c.id for c in labelled] + dropped, key=int)
    assert all(clip.quadrant for clip in labelled)
    assert not dropped or ties == "drop"


@pytest.mark.real
def test_real_seconds(real_data: Path) -> None:
    """The minutes that SOURCES.md states."""
    minutes = {
        "speech-eng": ("librispeech", "LibriSpeech", "eng", 32.7),
        "speech-man": ("aishell", "data_aishell", "man", 21.1),
        "music-eng": ("emotion_4q", "MER_audio_taffc_dataset", "eng", 98.4),
        "music-man": ("ch818", "CH818", "man", 60.2),
    }
    for role, (adapter, folder, language, expected) in minutes.items():
        section = {"adapter": adapter, "folder": folder, "language": language}
        found = index(role, section, real_data)
        assert not found.problems
        assert len({clip.digest for clip in found.clips}) == len(found.clips)
        assert sum(clip.seconds for clip in found.clips) / 60 == pytest.approx(expected, abs=0.06)


def test_every_adapter_can_be_indexed(tmp_path: Path) -> None:
    for name in datasets():
        section = trees.TREES[name](tmp_path)
        assert index(f"speech-{section['language']}", section, tmp_path).clips
