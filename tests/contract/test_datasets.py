"""Every adapter keeps the same promises, over a tiny tree in its corpus's own layout."""

import builtins
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml
from pydantic import ValidationError

import trees
from recitative.corpora.base import (
    Clip,
    DatasetConfig,
    MissingDataError,
    Problem,
    Rating,
    datasets,
    parse_dataset_config,
)
from recitative.corpora.layout import AUDIO_SUFFIXES
from recitative.errors import UserError
from recitative.files import plain_cell, read_csv
from recitative.vocabulary import QUADRANTS

ADAPTERS = sorted(datasets())


def iterate(data: Path, section: dict[str, Any], **changes: Any) -> list[Clip | Problem]:
    config = parse_dataset_config("test", section | changes)
    return list(datasets()[config.adapter].iter_clips(data / config.folder, config))


def clips_of(items: list[Clip | Problem]) -> list[Clip]:
    return [item for item in items if isinstance(item, Clip)]


def problems_of(items: list[Clip | Problem]) -> list[Problem]:
    return [item for item in items if isinstance(item, Problem)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every corpus's tree, only to be read."""
    folder = tmp_path_factory.mktemp("data")
    for name in ADAPTERS:
        trees.TREES[name](folder)
    return folder


@pytest.fixture(scope="module")
def sections(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    empty = tmp_path_factory.mktemp("sections")
    return {name: tree(empty) for name, tree in trees.TREES.items()}


@pytest.fixture
def no_audio_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening an audio file in any way fails the test."""
    real_open, real_io_open, real_os_open = builtins.open, io.open, os.open

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"audio was read: {args[:1]}")

    def guard(opener: Any) -> Any:
        def guarded(file: Any, *args: Any, **kwargs: Any) -> Any:
            if Path(str(file)).suffix.lower() in AUDIO_SUFFIXES:
                refuse(file)
            return opener(file, *args, **kwargs)

        return guarded

    for name in ("info", "read", "blocks", "SoundFile"):
        monkeypatch.setattr(soundfile, name, refuse)
    monkeypatch.setattr(builtins, "open", guard(real_open))
    monkeypatch.setattr(io, "open", guard(real_io_open))
    monkeypatch.setattr(os, "open", guard(real_os_open))


def test_every_adapter_has_a_tree() -> None:
    assert set(ADAPTERS) == set(trees.TREES), "add the new corpus to tests/trees.py"


def test_the_guard_notices_reading(data: Path, no_audio_read: None) -> None:
    path = next(data.rglob("*.wav"))
    for read in (path.read_bytes, path.open, lambda: soundfile.info(path)):
        with pytest.raises(AssertionError, match="audio was read"):
            read()


@pytest.mark.parametrize("name", ADAPTERS)
def test_promises(
    name: str, data: Path, sections: dict[str, dict[str, Any]], no_audio_read: None
) -> None:
    items = iterate(data, sections[name])
    clips = clips_of(items)
    assert clips
    assert not problems_of(items)
    assert iterate(data, sections[name]) == items, "the same corpus, another answer"
    ids = [clip.id for clip in clips]
    assert len(set(ids)) == len(ids)
    for clip in clips:
        assert clip.id.startswith(f"{name}/")
        assert clip.path.is_file()
        assert clip.path.is_relative_to(data / sections[name]["folder"])
        assert clip.group.strip()
        assert clip.language == sections[name]["language"]
        assert clip.quadrant is None or clip.quadrant in QUADRANTS
    assert len({clip.group for clip in clips}) > 1


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a file"])
def test_missing_corpus(
    name: str, there: str, sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    root = tmp_path / sections[name]["folder"]
    if there == "an empty folder":
        root.mkdir()
    elif there == "a file":
        root.touch()
    with pytest.raises(MissingDataError) as error:
        iterate(tmp_path, sections[name])
    message = str(error.value)
    assert str(root) in message
    assert "expected" in message
    assert re.search(r"\.(flac|wav|mp3|csv)\b", message), "the layout is not named"
    assert "make use-data DATA=PATH" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ADAPTERS)
def test_order_does_not_depend_on_the_file_system(
    name: str, data: Path, sections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = iterate(data, sections[name])
    walk = os.walk

    def backwards(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for parent, folders, files in walk(*args, **kwargs):
            folders.sort(reverse=True)
            yield parent, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert iterate(data, sections[name]) == before


@pytest.mark.parametrize("name", ADAPTERS)
def test_no_id_is_a_formula(name: str, sections: dict[str, dict[str, Any]], data: Path) -> None:
    """Tables that pandas reads hold ids as they are, whatever the file is called."""
    for clip in clips_of(iterate(data, sections[name])):
        assert clip.id.startswith(f"{name}/")
        assert plain_cell(clip.id) == clip.id


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_typo_in_the_parameters(name: str, sections: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match="langauge"):
        parse_dataset_config("music-eng", sections[name] | {"langauge": "eng"})


def test_an_unknown_adapter_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"datasets\.music-eng.*'librispech'.*librispeech"):
        parse_dataset_config("music-eng", {"adapter": "librispech"})


# LibriSpeech and AISHELL-1


def test_librispeech(tmp_path: Path) -> None:
    section = trees.librispeech(tmp_path)
    clips = clips_of(iterate(tmp_path, section))
    assert clips[1].id == "librispeech/271-201-0001"  # test-other comes before train-clean-100
    assert [clip.group for clip in clips[::3]] == ["271", "19", "103", "187"]
    chosen = clips_of(iterate(tmp_path, section, subsets=["train-clean-100"]))
    assert {clip.group for clip in chosen} == {"19", "103", "187"}
    with pytest.raises(MissingDataError, match="train-clean-360"):
        iterate(tmp_path, section, subsets=["train-clean-100", "train-clean-360"])


@pytest.mark.parametrize(
    ("tree", "wrong"),
    [
        (trees.librispeech, "LibriSpeech/train-clean-100/19/198/take one.flac"),
        (trees.librispeech, "LibriSpeech/train-clean-100/19/198/20-198-0000.flac"),
        (trees.librispeech, "LibriSpeech/train-clean-100/19/198/19-198-0009.wav"),
        (trees.librispeech, "LibriSpeech/train-clean-100/19-198-0009.flac"),
        (trees.aishell, "data_aishell/wav/train/S0002/S0002 take one.wav"),
        (trees.aishell, "data_aishell/wav/train/S0002/BAC009S0011W0122.wav"),
        (trees.aishell, "data_aishell/wav/BAC009S0002W0900.wav"),
    ],
)
def test_wrongly_named_audio(tree: Any, wrong: str, tmp_path: Path) -> None:
    section = tree(tmp_path)
    before = clips_of(iterate(tmp_path, section))
    trees.write_tone(tmp_path / wrong)
    items = iterate(tmp_path, section)
    assert clips_of(items) == before
    [problem] = problems_of(items)
    assert problem.path == str(tmp_path / wrong)
    assert "wrongly named" in problem.reason
    assert not problem.kept


def test_aishell_still_packed(tmp_path: Path) -> None:
    (tmp_path / "data_aishell/wav").mkdir(parents=True)
    (tmp_path / "data_aishell/wav/S0002.tar.gz").touch()
    with pytest.raises(UserError, match="unpack"):
        iterate(tmp_path, {"adapter": "aishell", "folder": "data_aishell", "language": "man"})


def test_a_linked_corpus_is_read(tmp_path: Path) -> None:
    section = trees.librispeech(tmp_path / "elsewhere")
    (tmp_path / "data/LibriSpeech/all").mkdir(parents=True)
    for speaker in (tmp_path / "elsewhere/LibriSpeech").glob("*/*"):
        (tmp_path / "data/LibriSpeech/all" / speaker.name).symlink_to(speaker)
    assert len(iterate(tmp_path / "data", section)) == 12


def test_a_closed_folder_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = trees.librispeech(tmp_path)
    closed, scandir = tmp_path / "LibriSpeech/train-clean-100/19", os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=f"{closed}: this folder may not be read"):
        iterate(tmp_path, section)


# 4Q-Emotion


def annotations(data: Path) -> Path:
    return data / "MER_audio_taffc_dataset/panda_dataset_taffc_annotations.csv"


def test_4q_ratings_and_artists(tmp_path: Path) -> None:
    clips = clips_of(iterate(tmp_path, trees.emotion_4q(tmp_path)))
    assert Counter(clip.quadrant for clip in clips) == dict.fromkeys(QUADRANTS, 6)
    assert clips[0].group == "Artist 0"
    assert clips[0].ratings == tuple(Rating(f"r{i}", 3 + i, 3 + i) for i in range(3))
    assert clips[0].arousal is clips[0].valence is None


def test_4q_folder_against_annotation(tmp_path: Path) -> None:
    section = trees.emotion_4q(tmp_path)
    text = annotations(tmp_path).read_text().replace("MT0000000000,Q1", "MT0000000000,Q3")
    annotations(tmp_path).write_text(text)
    items = iterate(tmp_path, section)
    [problem] = problems_of(items)
    assert problem.kept
    assert "Q1" in problem.reason
    assert "Q3" in problem.reason
    assert next(c for c in clips_of(items) if c.id.endswith("MT0000000000")).quadrant == "Q3"


def test_4q_row_without_audio_and_audio_without_row(tmp_path: Path) -> None:
    section = trees.emotion_4q(tmp_path)
    (tmp_path / "MER_audio_taffc_dataset/Q1/MT0000000000.mp3").unlink()
    extra = trees.write_tone(tmp_path / "MER_audio_taffc_dataset/Q2/MT9.mp3")
    again = trees.write_tone(tmp_path / "MER_audio_taffc_dataset/Q1/MT0000000001.mp3")
    with annotations(tmp_path).open("a") as out:
        out.write("MT0000000002,Q3\nMT0000000001,Q5\n")
    items = iterate(tmp_path, section)
    assert len(clips_of(items)) == 23
    without_audio, second, twice, bad, without_row = problems_of(items)
    assert without_audio.reason.startswith("row 2: MT0000000000 has no audio")
    assert (second.path, second.kept) == (str(again), False)
    assert twice.reason.startswith("row 26: MT0000000002 again")
    assert bad.reason == "row 27: Quadrant of MT0000000001 is 'Q5'"
    assert without_row.path == str(extra)
    assert "no row" in without_row.reason


@pytest.mark.parametrize("gone", ["the file", "two artists"])
def test_4q_without_artists(gone: str, tmp_path: Path) -> None:
    section = trees.emotion_4q(tmp_path)
    metadata = tmp_path / "MER_audio_taffc_dataset/panda_dataset_taffc_metadata.csv"
    if gone == "the file":
        metadata.unlink()
    else:
        text = re.sub("Artist [01],", " ,", metadata.read_text())
        metadata.write_bytes(text.replace("Artist 2", "Beyonc\u00e9").encode("latin-1"))
    items = iterate(tmp_path, section)
    [problem] = problems_of(items)
    count = 24 if gone == "the file" else 6
    assert problem.kept
    assert problem.reason.startswith(f"{count} of 24 clips have no artist")
    assert sum(clip.group == clip.id for clip in clips_of(items)) == count


def test_4q_bad_rating(tmp_path: Path) -> None:
    section = trees.emotion_4q(tmp_path)
    with (tmp_path / "MER_audio_taffc_dataset/panda_dataset_taffc_ratings.csv").open("a") as out:
        out.write("MT0000000000,r9,high,2\nMT0000000000,r10,nan,2\n")
    items = iterate(tmp_path, section)
    assert [p.reason.split(";")[0] for p in problems_of(items)] == [
        "row 74: arousal is 'high', not a number",
        "row 75: arousal is 'nan', not a number",
    ]
    assert len(clips_of(items)[0].ratings) == 3


# CH-818


def test_ch818_order_raters_and_artists(tmp_path: Path) -> None:
    clips = clips_of(iterate(tmp_path, trees.ch818(tmp_path)))
    assert [clip.id for clip in clips] == [f"ch818/{i}" for i in range(1, 25)]
    assert clips[0].group == "歌手 0"
    assert clips[0].quadrant == "Q1"
    assert clips[1].ratings == (Rating("1", 3, -5), Rating("2", 4, -4), Rating("3", 5, -3))
    assert (clips[1].arousal, clips[1].valence, clips[1].quadrant) == (4, -4, "Q2")


def ch818_table(data: Path, columns: list[str], rows: list[list[object]]) -> dict[str, Any]:
    """A CH-818 corpus with this table and as many files as it has rows."""
    section = trees.ch818(data, artists=1, songs=len(rows))
    trees.write_rows(data / "CH818/CH818_AV.csv", columns, rows)
    return section


def test_ch818_means_over_raters_where_it_has_no_own_columns(tmp_path: Path) -> None:
    section = ch818_table(
        tmp_path,
        ["Songs", "Arousal_a", "Arousal_b", "Valence_a", "Valence_b"],
        [["./1.mp3", 1, 4, -2, -3], ["./2.mp3", "", -4, "", 1], ["./3.mp3", "", "", "", ""]],
    )
    items = iterate(tmp_path, section)
    first, second = clips_of(items)
    assert (first.arousal, first.valence, first.quadrant) == (2.5, -2.5, "Q2")
    assert (second.arousal, second.valence, second.quadrant) == (-4, 1, "Q4")
    assert second.ratings == (Rating("b", -4, 1),)
    unrated, ungrouped = problems_of(items)
    assert unrated.path.endswith("3.mp3")
    assert "row 4: no rating" in unrated.reason
    assert ungrouped.reason.startswith("2 of 2 clips have no artist")


def test_ch818_own_columns_that_look_like_a_rater(tmp_path: Path) -> None:
    columns = ["Songs", "Arousal_all", "Valence_all", "Arousal_1", "Valence_1"]
    section = ch818_table(tmp_path, columns, [["./1.mp3", 2, 3, 4, 5]])
    own = {"arousal_column": "Arousal_all", "valence_column": "Valence_all"}
    [clip] = clips_of(iterate(tmp_path, section, **own))
    assert (clip.arousal, clip.valence, clip.ratings) == (2, 3, (Rating("1", 4, 5),))


@pytest.mark.parametrize(
    ("columns", "absent"),
    [
        (["Songs", "Arousal", "Val"], "Valence"),
        (["Songs", "A", "V"], "Arousal"),
        (["Song", "Arousal", "Valence"], "Songs"),
        (["Songs", "Arousal_1", "Valence_1", "Arousal_2"], "Valence_2"),
    ],
)
def test_ch818_missing_column(columns: list[str], absent: str, tmp_path: Path) -> None:
    section = ch818_table(tmp_path, columns, [["./1.mp3", *[1] * (len(columns) - 1)]])
    with pytest.raises(UserError) as error:
        iterate(tmp_path, section)
    message = str(error.value)
    assert f"CH818_AV.csv: no column '{absent}'; it has: {', '.join(columns)}" in message


def test_ch818_values_that_are_no_ratings(tmp_path: Path) -> None:
    section = ch818_table(
        tmp_path,
        ["Songs", "Arousal", "Valence", "Artist", "Arousal_1", "Valence_1"],
        [
            ["./1.mp3", "3,5", 1, "a", "", ""],
            ["./2.mp3", 1, 11, "a", "", ""],
            ["./3.mp3", 1, "nan", "a", "", ""],
            ["./4.mp3", 1, 2, "a", 3, ""],
            ["./5.mp3", 1, 2, "a", 3, 4],
            ["./9.mp3", 1, 2, "a", 3, 4],
            ["5.mp3", -1, -2, "a", 3, 4],
        ],
    )
    items = iterate(tmp_path, section)
    assert [clip.id for clip in clips_of(items)] == ["ch818/4", "ch818/5"]
    assert [len(clip.ratings) for clip in clips_of(items)] == [0, 1]
    assert [(problem.reason, problem.kept) for problem in problems_of(items)] == [
        ("CH818_AV.csv, row 2: Arousal is '3,5', not a number", False),
        ("CH818_AV.csv, row 3: Valence is 11, outside the scale [-10, 10]", False),
        ("CH818_AV.csv, row 4: Valence is 'nan', not a number", False),
        ("row 5: Valence_1 is '', not a number; this rating is left out", True),
        ("row 7: 9.mp3 is not in ch818_mp3/", False),
        ("row 8: 5.mp3 again; its first row counts", True),
        ("no row in CH818_AV.csv", False),  # 6.mp3
        ("no row in CH818_AV.csv", False),  # 7.mp3
    ]


@pytest.mark.parametrize(
    ("ties", "quadrants"),
    [("drop", ["Q3"]), ("positive", ["Q1", "Q2", "Q3"]), ("negative", ["Q4", "Q3", "Q3"])],
)
def test_ch818_ties(ties: str, quadrants: list[str], tmp_path: Path) -> None:
    rows: list[list[object]] = [["1.mp3", 0, 1, "a"], ["2.mp3", 0, -1, "a"], ["3.mp3", -1, -1, "b"]]
    section = ch818_table(tmp_path, ["Songs", "Arousal", "Valence", "Artist"], rows)
    items = iterate(tmp_path, section, ties=ties)
    assert [clip.quadrant for clip in clips_of(items)] == quadrants
    problems = problems_of(items)
    assert [Path(problem.path).name for problem in problems] == ["1.mp3", "2.mp3"]
    assert all(p.reason.startswith("tie: arousal 0 is on the threshold 0;") for p in problems)
    assert [problem.kept for problem in problems] == [ties != "drop"] * 2


@pytest.mark.parametrize(
    ("threshold", "quadrants"),
    [
        ("zero", ["Q1", "Q1", "Q1", "Q1"]),
        ("mean", ["Q3"] * 3 + ["Q1"]),
        ("median", ["Q3"] * 2 + ["Q1"] * 2),
    ],
)
def test_ch818_thresholds(threshold: str, quadrants: list[str], tmp_path: Path) -> None:
    rows: list[list[object]] = [[f"{i}.mp3", i * i, i * i / 2, "a"] for i in (1, 1.5, 2, 3)]
    rows = [[f"{n}.mp3", *row[1:]] for n, row in enumerate(rows, 1)]
    section = ch818_table(tmp_path, ["Songs", "Arousal", "Valence", "Artist"], rows)
    assert [
        c.quadrant for c in clips_of(iterate(tmp_path, section, threshold=threshold))
    ] == quadrants


def test_ch818_rater_pattern_needs_one_star(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="arousal_rater_pattern"):
        iterate(tmp_path, trees.ch818(tmp_path, 1, 1), arousal_rater_pattern="Arousal_")


# table


def test_table_skips_other_languages_and_takes_odd_paths(tmp_path: Path) -> None:
    section = trees.table(tmp_path)
    assert len(iterate(tmp_path, section)) == 8
    mandarin = clips_of(iterate(tmp_path, section, language="man"))
    assert [clip.id for clip in mandarin] == [f"table/söngs {i}/歌 2.wav" for i in range(4)]
    with pytest.raises(UserError, match="no column 'idiom'"):
        iterate(tmp_path, section, language_column="idiom")
    (tmp_path / "my corpus/clips.csv").write_text("path,group,language\na.wav,g,spa\n")
    with pytest.raises(UserError, match="no row has language 'eng'; it has: 'spa'"):
        iterate(tmp_path, section)


def own_table(data: Path, columns: str, *rows: str) -> dict[str, Any]:
    section = trees.table(data, groups=1, clips=1)
    for name in ("a.wav", "b.wav", "c.wav"):
        trees.write_tone(data / "my corpus" / name)
    text = "\ufeff" + "\n".join([columns, *rows]) + "\n\n"
    (data / "my corpus/clips.csv").write_text(text, encoding="utf-8")
    return section


def test_table_of_speech(tmp_path: Path) -> None:
    section = own_table(tmp_path, "path,group,language", "a.wav,s1,eng", "b.wav,,eng")
    first, second = clips_of(iterate(tmp_path, section))
    assert (first.group, first.quadrant, first.arousal) == ("s1", None, None)
    assert second.group == second.id == "table/b.wav"


def test_table_with_numbers(tmp_path: Path) -> None:
    section = own_table(
        tmp_path,
        "path,group,language,arousal,valence,quadrant",
        "a.wav,s1,eng,2,-1,",
        "b.wav,s1,eng,0,1,",
        "c.wav,s2,eng,3,3,Q3",
    )
    items = iterate(tmp_path, section, ties="negative")
    assert [clip.quadrant for clip in clips_of(items)] == ["Q2", "Q4", "Q3"]
    [tie] = problems_of(items)
    assert tie.kept


def test_table_bad_rows(tmp_path: Path) -> None:
    section = own_table(
        tmp_path,
        "path,group,language,arousal,valence,quadrant",
        "nowhere.wav,s1,eng,2,-1,",
        "a.wav,s1,eng,,,Q7",
        "b.wav,s1,eng,1,,",
        "c.wav,s1,eng,1,1,",
        ",s1,eng,1,1,",
    )
    items = iterate(tmp_path, section)
    assert [clip.id for clip in clips_of(items)] == ["table/c.wav"]
    assert [problem.reason for problem in problems_of(items)] == [
        "row 2: path 'nowhere.wav' is not a file",
        "row 3: quadrant is 'Q7', not Q1 … Q4",
        "row 4: valence is '', not a number",
        "row 6: path '' is not a file",
    ]


def test_table_half_of_the_numbers(tmp_path: Path) -> None:
    section = own_table(tmp_path, "path,group,language,arousal", "a.wav,s1,eng,1")
    with pytest.raises(UserError, match=r"clips\.csv: no column 'valence'; it has: path, group"):
        iterate(tmp_path, section)


def test_table_path_outside_its_folder(tmp_path: Path) -> None:
    trees.write_tone(tmp_path / "songs/x.wav")
    section = own_table(tmp_path, "path,group,language", "../songs/x.wav,s1,eng")
    [clip] = clips_of(iterate(tmp_path, section))
    assert clip.id == "table/../songs/x.wav"
    assert clip.path.samefile(tmp_path / "songs/x.wav")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no column 'path'; it has: no columns"),
        ("path,group,language\nü.wav,g,eng\n".encode("latin-1"), r"not UTF-8 \(byte 20\)"),
        (b"path,group,language\n" + b'"' + b"x" * 200_000, "not a CSV table"),
        (b"path,group,language\n", "it has: no rows"),
    ],
)
def test_table_that_is_none(content: bytes, message: str, tmp_path: Path) -> None:
    section = trees.table(tmp_path, 1, 1)
    (tmp_path / "my corpus/clips.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        iterate(tmp_path, section)


# the small real corpora

REAL: dict[str, tuple[dict[str, Any], int, int, dict[str, int]]] = {
    "librispeech": ({"folder": "LibriSpeech", "language": "eng"}, 175, 135, {}),
    "aishell": ({"folder": "data_aishell", "language": "man"}, 271, 2, {}),
    "emotion_4q": (
        {"folder": "MER_audio_taffc_dataset", "language": "eng"},
        200,
        183,
        dict.fromkeys(QUADRANTS, 50),
    ),
    "ch818": (
        {"folder": "CH818", "language": "man"},
        122,
        102,
        {"Q1": 58, "Q2": 19, "Q3": 31, "Q4": 14},
    ),
}


TABLES = {
    "emotion_4q": (
        "MER_audio_taffc_dataset/panda_dataset_taffc_annotations.csv",
        "MER_audio_taffc_dataset/panda_dataset_taffc_metadata.csv",
        "MER_audio_taffc_dataset/panda_dataset_taffc_ratings.csv",
    ),
    "ch818": ("CH818/CH818_AV.csv",),
    "table": ("my corpus/clips.csv",),
}
EACH_TABLE = [(name, table) for name, tables in TABLES.items() for table in tables]


@pytest.mark.parametrize(("name", "table"), EACH_TABLE)
def test_a_row_with_too_few_or_too_many_cells_is_named(
    name: str, table: str, tmp_path: Path
) -> None:
    section = trees.TREES[name](tmp_path)
    path = tmp_path / table
    header, first, *rows = path.read_text().splitlines()
    whole = len(header.split(","))
    clips = iterate(tmp_path, section)
    path.write_text("\n".join([header, f"{first},, ", "", *rows]))  # as spreadsheets leave it
    assert iterate(tmp_path, section) == clips
    for bad, there in ((first.rpartition(",")[0], whole - 1), (f"{first},more", whole + 1)):
        path.write_text("\n".join([header, bad, *rows]))
        with pytest.raises(UserError) as error:
            iterate(tmp_path, section)
        assert f"{path}: line 2: {there} cells, the header has {whole}" in str(error.value)


@pytest.mark.parametrize(("name", "table"), EACH_TABLE)
def test_two_columns_with_one_name_are_refused(name: str, table: str, tmp_path: Path) -> None:
    section = trees.TREES[name](tmp_path)
    path = tmp_path / table
    header, *rows = path.read_text().splitlines()
    column = header.split(",")[0]
    path.write_text("\n".join([f"{header},{column}", *(f"{row},x" for row in rows)]))
    with pytest.raises(UserError, match=f"{path.name}: two columns are named '{column}'"):
        iterate(tmp_path, section)


@pytest.mark.parametrize(("name", "table"), EACH_TABLE)
def test_a_path_of_5000_characters_is_a_problem(name: str, table: str, tmp_path: Path) -> None:
    section = trees.TREES[name](tmp_path)
    before = len(clips_of(iterate(tmp_path, section)))
    path = tmp_path / table
    header, *rows = path.read_text().splitlines()
    _, *cells = rows[0].split(",")
    absurd = ",".join(["x" * 5000, *cells])
    path.write_text("\n".join([header, *rows, absurd]))
    items = iterate(tmp_path, section)
    assert len(clips_of(items)) == before
    told = [problem for problem in problems_of(items) if "(5000 characters)" in problem.reason]
    assert len(told) == ("annotations" in table or name != "emotion_4q")
    assert all(len(problem.reason) < 200 for problem in problems_of(items))


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_corpora(name: str, real_data: Path, no_audio_read: None) -> None:
    section, clips, groups, quadrants = REAL[name]
    items = iterate(real_data, {"adapter": name} | section)
    assert not problems_of(items)
    found = clips_of(items)
    assert len(found) == len({clip.id for clip in found}) == clips
    assert len({clip.group for clip in found}) == groups
    assert Counter(clip.quadrant for clip in found if clip.quadrant) == quadrants


def test_every_section_is_a_dataset_config() -> None:
    assert all(issubclass(dataset.config, DatasetConfig) for dataset in datasets().values())


# Emotional speech


def emotions_of(items: list[Clip | Problem]) -> Counter[str | None]:
    return Counter(clip.emotion for clip in clips_of(items))


def test_esd_by_language(tmp_path: Path) -> None:
    section = trees.esd(tmp_path)
    for language, groups in (("eng", {"0011", "0012", "0013"}), ("man", {"0001", "0002", "0003"})):
        items = iterate(tmp_path, section, language=language)
        assert {clip.group for clip in clips_of(items)} == groups
        assert emotions_of(items) == dict.fromkeys(("happy", "angry", "sad", "calm"), 3)
    trees.write_tone(tmp_path / "ESD/0021/Sad/0021_000001.wav")
    [problem] = problems_of(iterate(tmp_path, section))
    assert problem.reason == "speaker 0021: ESD has 0001 to 0020"


@pytest.mark.parametrize(
    ("tree", "wrong"),
    [
        (trees.esd, "ESD/0011/Happy/take one.wav"),
        (trees.esd, "ESD/0011/Happy/0012_000001.wav"),
        (trees.esd, "ESD/0011_000009.wav"),
        (trees.ravdess, "RAVDESS/Actor_01/03-01-09-01-01-01-01.wav"),
        (trees.ravdess, "RAVDESS/Actor_01/03-01-05-01-01-01-02.wav"),
        (trees.crema_d, "CREMA-D/AudioWAV/1001_IEO_XXX_HI.wav"),
    ],
)
def test_wrongly_named_emotional_speech(tree: Any, wrong: str, tmp_path: Path) -> None:
    section = tree(tmp_path)
    before = clips_of(iterate(tmp_path, section))
    trees.write_tone(tmp_path / wrong)
    items = iterate(tmp_path, section)
    assert clips_of(items) == before
    [problem] = problems_of(items)
    assert "wrongly named" in problem.reason
    assert not problem.kept


def test_ravdess_is_spoken_and_sung_by_actors_of_choice(tmp_path: Path) -> None:
    section = trees.ravdess(tmp_path)
    spoken = clips_of(iterate(tmp_path, section, actors=[1, 2, 3]))
    sung = clips_of(iterate(tmp_path, section, actors=[4, 5], channel="song"))
    assert {clip.group for clip in spoken} == {"01", "02", "03"}
    assert {clip.group for clip in sung} == {"04", "05"}
    assert all("-02-" in clip.id for clip in sung)
    with pytest.raises(MissingDataError, match=r"RAVDESS song of the actors 99 corpus there"):
        iterate(tmp_path, section, actors=[99], channel="song")


def test_crema_d(tmp_path: Path) -> None:
    items = iterate(tmp_path, trees.crema_d(tmp_path))
    assert emotions_of(items) == {"happy": 4, "angry": 4, "sad": 4}
    assert clips_of(items)[0].id == "crema_d/1001_IEO_ANG_HI"


def test_tava_by_ratings_or_by_category(tmp_path: Path) -> None:
    section = trees.tava(tmp_path)
    rated = clips_of(iterate(tmp_path, section))
    assert Counter(clip.quadrant for clip in rated) == dict.fromkeys(QUADRANTS, 4)
    assert {clip.emotion for clip in rated} == {None}
    named = iterate(tmp_path, section, labels="categories")
    assert emotions_of(named) == dict.fromkeys(("happy", "angry", "sad", "calm"), 4)
    assert {clip.quadrant for clip in clips_of(named)} == {None}
    assert {(clip.arousal, clip.valence) for clip in clips_of(named)} == {
        (0.3, 0.4), (0.3, -0.4), (-0.3, -0.4), (-0.3, 0.4),
    }  # fmt: skip


def test_tava_ratings_without_categories_and_categories_without_ratings(tmp_path: Path) -> None:
    section = trees.tava(tmp_path)
    table = tmp_path / "tava/labels.csv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace(",happy,", ",,")
    lines[2] = ",".join([*lines[2].split(",")[:3], "", ""])
    table.write_text("\n".join(lines))
    [unrated] = problems_of(iterate(tmp_path, section))
    assert unrated.path.endswith("s01_angry_audio.flac")
    assert unrated.reason == "labels.csv, row 3: no ratings (labels: ratings)"
    [unnamed] = problems_of(iterate(tmp_path, section, labels="categories"))
    assert unnamed.path.endswith("s01_happy_audio.flac")
    assert unnamed.reason == "labels.csv, row 2: no affect (labels: categories)"


def test_tava_as_it_is(project_root: Path) -> None:
    real = project_root / "../shared/real"
    if not (real / "tava").is_dir():
        pytest.skip("the real corpus is not beside the project")
    section = {"adapter": "tava", "folder": "tava", "language": "eng"}
    rated = iterate(real, section)
    assert len(rated) == 352
    assert not problems_of(rated)
    assert len({clip.group for clip in clips_of(rated)}) == 22
    table = {row["file"]: row["Quadrant_from_signs"] for row in read_csv(real / "tava/labels.csv")}
    assert all(clip.quadrant == table[clip.path.name] for clip in clips_of(rated))
    known = yaml.safe_load((project_root / "params.yaml").read_text())["emotions"]
    assert set(emotions_of(iterate(real, section, labels="categories"))) <= set(known)
