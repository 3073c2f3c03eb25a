"""The certificate catches every planted leak, and no file can change behind its back."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recitative.corpora.balance import BalanceConfig
from recitative.corpora.base import ROLES, SOURCE_ROLES
from recitative.corpora.certificate import (
    CERTIFICATE,
    LeakError,
    audit_splits,
    certify,
    find_leaks,
    require_clean,
)
from recitative.corpora.indexing import IndexedClip, RoleIndex, write_index
from recitative.corpora.splits import (
    SplitConfig,
    SplitRow,
    make_splits,
    read_splits,
    split_role,
    write_splits,
)
from recitative.errors import UserError
from recitative.files import write_json
from recitative.vocabulary import QUADRANTS

HOLDOUT = SplitConfig()
FOLDS = SplitConfig(scheme="grouped_folds")
BY_CLIP = SplitConfig(group_by="clip")
RELEASED = SplitConfig(group_by="clip", leak="released")
SEED = 3
HOURS = BalanceConfig(speech_hours=0.1, music_hours=None)


def clips_of(role, count, groups):
    rng = np.random.default_rng(len(role) * count)
    return [
        IndexedClip(
            id=f"{role}/{i:03}",
            path=f"{role}/{i}.wav",
            seconds=float(rng.uniform(3, 9)),
            group=f"g{i % groups}",
            language="man" if "man" in role else "eng",
            quadrant=QUADRANTS[i % groups % 4] if "music" in role else None,
            arousal=None,
            valence=None,
            sample_rate=16000,
            channels=1,
            digest=f"{role}-{i}",
        )
        for i in range(count)
    ]


@pytest.fixture
def index():
    return {role: clips_of(role, 96, 32) for role in SOURCE_ROLES}


def write(folder: Path, index, splits, split):
    for role, clips in index.items():
        write_index(RoleIndex(role, list(clips), [], []), folder / "index")
    for role, rows in splits.items():
        write_splits(folder / "splits", role, rows)
    certificate = certify(index, splits, split, SEED)
    write_json(folder / "splits" / CERTIFICATE, certificate)
    return folder / "index", folder / "splits"


@pytest.mark.parametrize("split", [HOLDOUT, FOLDS, BY_CLIP, FOLDS.model_copy(update={"fold": 2})])
def test_what_is_made_is_clean(tmp_path: Path, index, split):
    splits, notes = make_splits(index, split, HOURS, SEED)
    certificate = certify(index, splits, split, SEED, notes)
    assert certificate["leaks"] == []
    folders = write(tmp_path, index, splits, split)
    assert audit_splits(*folders) == []
    assert require_clean(folders[1], folders[0])["hash"] == certificate["hash"]


def test_it_states_what_the_parts_hold(index):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    certificate = certify(index, splits, HOLDOUT, SEED, ["music-eng: too short"])
    assert set(certificate["roles"]) == set(ROLES)
    assert certificate["notes"] == ["music-eng: too short"]
    assert json.loads(json.dumps(certificate)) == certificate
    test = [row.id for row in splits["music-eng"] if row.split == "test"]
    there = [clip for clip in index["music-eng"] if clip.id in test]
    stated = certificate["roles"]["music-eng"]["test"]
    assert stated["clips"] == len(there)
    assert stated["groups"] == len({clip.group for clip in there})
    assert stated["hours"] == pytest.approx(sum(c.seconds for c in there) / 3600, abs=1e-4)
    shares = {q: sum(c.quadrant == q for c in there) / len(there) for q in QUADRANTS}
    assert stated["classes"] == pytest.approx(shares, abs=1e-4)
    assert "classes" not in certificate["roles"]["speech-mix"]["train"]
    assert "test" not in certificate["roles"]["speech-eng"]


def test_the_folds_are_stated_too(index):
    splits, _ = make_splits(index, FOLDS, HOURS, SEED)
    folds = certify(index, splits, FOLDS, SEED)["roles"]["music-man"]["folds"]
    assert sum(fold["clips"] for fold in folds) == 96
    assert sum(fold["groups"] for fold in folds) == 32


def moved(rows, clip_id, part, fold=None):
    return [replace(row, split=part, fold=fold) if row.id == clip_id else row for row in rows]


def of(rows, part):
    return next(row.id for row in rows if row.split == part)


def plant_same_clip(index, splits):
    clip = of(splits["music-eng"], "test")
    splits["music-eng"].append(SplitRow(clip, "train"))
    return f"music-eng: clip {clip} is in test and train"


def plant_same_group(index, splits):
    clip = of(splits["music-man"], "test")
    splits["music-man"] = moved(splits["music-man"], clip, "validation")
    group = next(c.group for c in index["music-man"] if c.id == clip)
    return f"music-man: group {group} is in test and validation"


def plant_same_speaker(index, splits):
    clip = of(splits["speech-eng"], "validation")
    splits["speech-eng"] = moved(splits["speech-eng"], clip, "train")
    group = next(c.group for c in index["speech-eng"] if c.id == clip)
    return f"speech-eng: group {group} is in train and validation"


def plant_renamed_copy(index, splits):
    one, other = of(splits["music-eng"], "train"), of(splits["music-eng"], "test")
    digest = next(c.digest for c in index["music-eng"] if c.id == one)
    index["music-eng"] = [
        replace(c, digest=digest) if c.id == other else c for c in index["music-eng"]
    ]
    names = " and ".join(sorted((one, other)))
    return f"music-eng: the same audio ({digest}), as {names}, is in test and train"


def plant_audio_in_both_languages(index, splits):
    mix = splits["speech-mix"]
    one = next(r.id for r in mix if r.split == "train" and "eng" in r.id)
    other = next(r.id for r in mix if r.split == "validation" and "man" in r.id)
    index["speech-man"] = [
        replace(c, digest=f"speech-eng-{int(one[-3:])}") if c.id == other else c
        for c in index["speech-man"]
    ]
    return "speech-mix: the same audio"


def plant_mixed_up(index, splits):
    clip = next(r.id for r in splits["speech-mix"] if r.split == "validation" and "man" in r.id)
    splits["speech-mix"] = moved(splits["speech-mix"], clip, "train")
    return f"speech-mix beside speech-man: clip {clip} is in train and validation"


def plant_mixed_speaker(index, splits):
    """A clip that its own language's split left out, of a speaker who is held out there."""
    held = {row.id for row in splits["speech-eng"] if row.split == "validation"}
    speakers = {c.group for c in index["speech-eng"] if c.id in held}
    chosen = {row.id for row in splits["speech-eng"]}
    clip = next(c for c in index["speech-eng"] if c.group in speakers and c.id not in chosen)
    splits["speech-mix"].append(SplitRow(clip.id, "train"))
    return f"speech-mix beside speech-eng: group {clip.group} is in train and validation"


def plant_unknown(index, splits):
    splits["music-eng"].append(SplitRow("nobody", "train"))
    return "music-eng: clip nobody is not in the index"


def plant_empty(index, splits):
    splits["music-man"] = [row for row in splits["music-man"] if row.split != "validation"]
    return "music-man: no clip in validation"


PLANTED = [
    plant_same_clip,
    plant_same_group,
    plant_same_speaker,
    plant_renamed_copy,
    plant_audio_in_both_languages,
    plant_mixed_up,
    plant_mixed_speaker,
    plant_unknown,
    plant_empty,
]


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_leak_is_caught(tmp_path: Path, index, plant):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    write(tmp_path, index, splits, HOLDOUT)
    leak = plant(index, splits)
    found = find_leaks(index, splits, HOLDOUT, SEED)
    assert any(sentence.startswith(leak) for sentence in found), found

    folders = write(tmp_path, index, splits, HOLDOUT)  # as if it had been made so
    assert audit_splits(*folders) == found
    with pytest.raises(LeakError, match="leak.*run `recitative split` again"):
        require_clean(folders[1])
    assert require_clean(*folders[::-1], allow_leaks=True)["leaks"] == found


def test_the_released_leak_is_caught(tmp_path: Path, index):
    """Protocol C11, re-created: the test songs are trained and validated on."""
    splits, _ = make_splits(index, RELEASED, HOURS, SEED)
    test = {row.id for row in splits["music-eng"] if row.split == "test"}
    folders = write(tmp_path, index, splits, RELEASED)
    leaks = audit_splits(*folders)
    assert {f"clip {clip} " in " ".join(leaks) for clip in test} == {True}
    assert len([leak for leak in leaks if leak.startswith("music-eng: clip")]) == len(test)
    with pytest.raises(LeakError, match="leak"):
        require_clean(folders[1])
    assert require_clean(folders[1], allow_leaks=True)["leaks"] == leaks


def test_a_split_by_clip_notes_the_groups_but_not_as_leaks(index):
    splits, _ = make_splits(index, BY_CLIP, HOURS, SEED)
    certificate = certify(index, splits, BY_CLIP, SEED)
    assert certificate["leaks"] == []
    assert any("music-eng: " in note and "32 groups stand" in note for note in certificate["notes"])
    assert not any("group" in check for check in certificate["checks"])
    plant_renamed_copy(index, splits)
    assert "the same audio" in find_leaks(index, splits, BY_CLIP, SEED)[0]


def test_speakers_of_one_name_in_two_languages_are_two(index):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    held = []
    for role in ("speech-eng", "speech-man"):
        ids = {row.id for row in splits[role] if row.split == "validation"}
        held.append({clip.group for clip in index[role] if clip.id in ids})
    assert held[0] != held[1]  # some name is held out in one language and trained on in the other
    assert find_leaks(index, splits, HOLDOUT, SEED) == []


@pytest.mark.parametrize(
    ("change", "leak"),
    [
        (lambda row: SplitRow(row.id, row.split, (row.fold + 1) % 5), "group .* is in fold"),
        (lambda row: SplitRow(row.id, "train", None), "tested in 0 folds"),
        (lambda row: SplitRow(row.id, "train", 0), "of fold 0 is in train; fold 0 is tested"),
    ],
)
def test_folds_that_do_not_test_once_are_caught(index, change, leak):
    rows = split_role("music-eng", index["music-eng"], FOLDS, SEED)
    first = next(row for row in rows if row.split == "test")
    changed = [change(row) if row == first else row for row in rows]
    found = find_leaks(index, {"music-eng": changed}, FOLDS, SEED)
    assert any(re.search(leak, sentence) for sentence in found), found


def test_a_clip_in_two_folds_is_caught(index):
    rows = split_role("music-eng", index["music-eng"], FOLDS, SEED)
    row = next(row for row in rows if row.fold == 1)
    found = find_leaks(index, {"music-eng": [*rows, replace(row, fold=4)]}, FOLDS, SEED)
    assert f"music-eng: clip {row.id} is tested in 2 folds" in found


def test_a_lost_fold_is_caught(index):
    rows = split_role("music-eng", index["music-eng"], FOLDS, SEED)
    found = find_leaks(index, {"music-eng": [r for r in rows if r.fold != 4]}, FOLDS, SEED)
    assert any("no fold 4" in sentence for sentence in found)


def test_a_row_planted_in_the_file_is_caught(tmp_path: Path, index):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    folders = write(tmp_path, index, splits, HOLDOUT)
    clip = of(splits["music-eng"], "test")
    with (folders[1] / "music-eng.csv").open("a") as table:
        table.write(f"{clip},train\r\n")
    leaks = audit_splits(*folders)
    assert f"music-eng: clip {clip} is in test and train" in leaks
    assert any("changed since certificate.json" in leak for leak in leaks)
    for allow in (False, True):
        with pytest.raises(LeakError, match="splits: changed since .*recitative split"):
            require_clean(folders[1], allow_leaks=allow)


def test_a_changed_split_without_a_leak_is_caught(tmp_path: Path, index):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    folders = write(tmp_path, index, splits, HOLDOUT)
    kept = read_splits(folders[1], "speech-eng")[1:]
    write_splits(folders[1], "speech-eng", kept)
    assert [leak for leak in audit_splits(*folders) if "changed since" in leak]
    with pytest.raises(LeakError, match="changed since"):
        require_clean(folders[1])


def test_a_changed_index_is_caught(tmp_path: Path, index):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    folders = write(tmp_path, index, splits, HOLDOUT)
    one, *others = index["music-eng"]
    clips = [replace(one, digest="another"), *others]
    write_index(RoleIndex("music-eng", clips, [], []), folders[0])
    assert [leak for leak in audit_splits(*folders) if "index: changed since" in leak]
    with pytest.raises(LeakError, match="index: changed since"):
        require_clean(folders[1], folders[0])
    assert require_clean(folders[1])["leaks"] == []  # the splits are still the certificate's


def test_the_order_of_files_does_not_matter(index):
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    turned = {role: rows[::-1] for role, rows in reversed(splits.items())}
    backwards = {role: clips[::-1] for role, clips in index.items()}
    one, other = (certify(i, s, HOLDOUT, SEED) for i, s in ((index, splits), (backwards, turned)))
    assert one == other


def test_no_certificate_no_stage(tmp_path: Path, index):
    for check in (require_clean, lambda splits: audit_splits(tmp_path / "index", splits)):
        with pytest.raises(LeakError, match="no leak certificate; run `recitative split` first"):
            check(tmp_path)
    splits, _ = make_splits(index, HOLDOUT, HOURS, SEED)
    folders = write(tmp_path, index, splits, HOLDOUT)
    (folders[1] / "music-man.csv").unlink()
    with pytest.raises(UserError, match="music-man.csv: no such file"):
        require_clean(folders[1])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"split": {"scheme": "x"}}', '{"split": {}}'])
def test_a_broken_certificate_is_refused(tmp_path: Path, text):
    (tmp_path / CERTIFICATE).write_text(text)
    with pytest.raises(LeakError, match=r"certificate.json: .*run `recitative split` again"):
        require_clean(tmp_path)
