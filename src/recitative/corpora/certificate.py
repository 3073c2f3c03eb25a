"""The leak certificate: no clip, no group and no audio in two parts, stated and checked again.

The code released with the paper divides all songs again after it has drawn the test set, so that
every test song is trained or validated on. A stage that trains calls `require_clean` first.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from recitative.corpora.balance import total_seconds
from recitative.corpora.base import (
    EMOTION_ROLES,
    MIXES,
    MUSIC_ROLES,
    SOURCE_ROLES,
    IndexedClip,
    sources_of,
)
from recitative.corpora.indexing import indexed_roles, read_index
from recitative.corpora.splits import (
    PARTS,
    SplitConfig,
    SplitRow,
    parts_for_fold,
    read_splits,
)
from recitative.errors import UserError
from recitative.files import read_json
from recitative.vocabulary import QUADRANTS

CERTIFICATE = "certificate.json"  # in the folder of the splits

Index = Mapping[str, Sequence[IndexedClip]]
Splits = Mapping[str, Sequence[SplitRow]]


class LeakError(UserError):
    """The splits have no certificate, or one that is not clean, or not theirs."""


def certify(
    index: Index, splits: Splits, split: SplitConfig, seed: int, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Check the splits of all roles, made on the root `seed`, and state what was found.

    A mix is looked up in both of its sources; `notes` are those of `make_splits`.

    Returns:
        ``certificate.json``: ``hash``, ``hashes`` (of the index and of the splits alone), ``seed``,
        ``split`` (the section), ``roles`` (clips, hours, groups and classes a part, and a fold),
        ``checks`` (sentences), ``leaks`` (sentences; empty when clean) and ``notes``.
    """
    hashes = _hashes(index, splits)
    return {
        "hash": _hash(hashes.items()),
        "hashes": hashes,
        "seed": seed,
        "split": split.model_dump(),
        "roles": {role: _describe(_clips(index, role), rows) for role, rows in splits.items()},
        "checks": _checks(split),
        "leaks": find_leaks(index, splits, split, seed),
        "notes": [*notes, *_spread_groups(index, splits, split)],
    }


def find_leaks(index: Index, splits: Splits, split: SplitConfig, seed: int) -> list[str]:
    """Everything that must not be, a sentence each; empty when the splits are clean."""
    by_group = split.group_by == "group"
    leaks: list[str] = []
    for role, rows in splits.items():
        clips = _clips(index, role)
        parts = [(row.id, row.split) for row in rows]
        needed = PARTS if role in MUSIC_ROLES else ("train", "validation")
        known, there = {clip.id for clip in clips}, {part for _, part in parts}
        leaks += [f"{role}: clip {i} is not in the index" for i, _ in parts if i not in known]
        leaks += [f"{role}: no clip in {part}" for part in needed if part not in there]
        # Two languages may use one name for two speakers: the mix's groups are checked below.
        leaks += _in_two(role, clips, parts, by_group and role not in MIXES)
        if split.scheme == "grouped_folds" and role in MUSIC_ROLES:
            leaks += _fold_leaks(role, clips, rows, split, seed)
    for mix, sources in MIXES.items():
        for source in sources:
            if mix in splits and source in splits:
                ids = {clip.id for clip in index[source]}
                rows = [*splits[source], *splits[mix]]
                parts = [(row.id, row.split) for row in rows if row.id in ids]
                leaks += _in_two(f"{mix} beside {source}", index[source], parts, by_group)
    return leaks + _heard_before(index, splits, by_group)


def _heard_before(index: Index, splits: Splits, by_group: bool) -> list[str]:
    """Music that pretraining has heard with its emotion: audio, and groups of the same corpus.

    A corpus that is spoken and sung by the same people can be both: then by other people in each.
    """
    leaks = []
    for emotion, music in product(EMOTION_ROLES, MUSIC_ROLES):
        heard, played = (
            [
                clip
                for clip in index.get(role, ())
                if clip.id in {r.id for r in splits.get(role, ())}
            ]
            for role in (emotion, music)
        )
        for what in ("group", "audio")[not by_group :]:
            both = sorted(
                {_known_by(c, what) for c in heard} & {_known_by(c, what) for c in played}
            )
            leaks += [f"{what} {name} is in {emotion} and in {music}" for name in both]
    return leaks


def _known_by(clip: IndexedClip, what: str) -> str:
    if what == "audio":
        return clip.digest
    corpus = clip.id.split("/")[0]  # its adapter; two tables may use one name for two speakers
    return f"{clip.path.split('/')[0] if corpus == 'table' else corpus}/{clip.group}"


def audit_splits(index_folder: Path, splits_folder: Path) -> list[str]:
    """Check the files as they are now, and whether they are still those of the certificate.

    Returns:
        The leaks, a sentence each; empty when clean.

    Raises:
        LeakError: there is no certificate.
        UserError: a file is missing or cannot be read as what it should be.
    """
    certificate, index, splits, changed = _read(splits_folder, index_folder)
    split = SplitConfig.model_validate(certificate["split"])
    return find_leaks(index, splits, split, certificate["seed"]) + changed


def require_clean(
    splits_folder: Path, index_folder: Path | None = None, *, allow_leaks: bool = False
) -> dict[str, Any]:
    """Give the certificate of `splits_folder`, or refuse to go on.

    Where `index_folder` is given, the index must be the certificate's, too. `allow_leaks` goes on
    with stated leaks, to measure what they are worth; files that are not the certificate's are
    refused all the same.

    Raises:
        LeakError: the certificate is missing, states leaks, or is not that of the files.
    """
    certificate, _, _, changed = _read(splits_folder, index_folder)
    if changed:
        raise LeakError(changed[0])
    leaks = certificate["leaks"]
    if leaks and not allow_leaks:
        raise LeakError(
            f"{splits_folder / CERTIFICATE}: {len(leaks)} leak(s), the first: {leaks[0]}; mend "
            "the data or params.yaml, split, and run `recitative split` again"
        )
    return certificate


def _checks(split: SplitConfig) -> list[str]:
    """What `find_leaks` makes sure of, for the reader of the certificate."""
    by_group, folds = split.group_by == "group", split.scheme == "grouped_folds"
    checks = {
        "Every clip of a split is in the index.": True,
        "No part is empty.": True,
        "No clip stands in two parts.": True,
        "No group (speaker or artist) stands in two parts.": by_group,
        "No audio (content hash) stands in two parts, under one name or two.": True,
        "Mixed speech keeps each clip in the part of its own language's split.": True,
        "No music is by a speaker of the emotional speech, or is its audio.": by_group,
        "Every music clip is tested in exactly one fold.": folds,
        "The parts of every fold keep all of the above.": folds,
    }
    return [sentence for sentence, made in checks.items() if made]


def _clips(index: Index, role: str) -> list[IndexedClip]:
    return [clip for source in sources_of(role) for clip in index[source]]


def _in_two(
    where: str, clips: Sequence[IndexedClip], parts: Sequence[tuple[str, str]], by_group: bool
) -> list[str]:
    """Clips, groups and audio that stand in two parts, given (clip id, part)."""
    table = _placed(clips, parts)
    leaks = [
        f"{where}: {kind} {name} is in {_and(found)}"
        for kind in ("clip", "group")[: 1 + by_group]
        for name, found in _spread(table, kind)
    ]
    named = table.groupby("audio")["clip"].unique()
    leaks += [
        f"{where}: the same audio ({digest}), as {_and(named[digest])}, is in {_and(found)}"
        for digest, found in _spread(table, "audio")
        if len(named[digest]) > 1
    ]
    return leaks


def _fold_leaks(
    role: str, clips: Sequence[IndexedClip], rows: Sequence[SplitRow], split: SplitConfig, seed: int
) -> list[str]:
    """Clips that are not tested exactly once, and leaks within each fold's own parts."""
    tested = Counter(row.id for row in rows if row.fold is not None)
    leaks = [
        f"{role}: clip {clip_id} is tested in {tested[clip_id]} folds"
        for clip_id in sorted({row.id for row in rows})
        if tested[clip_id] != 1
    ]
    leaks += [
        f"{role}: clip {row.id} of fold {row.fold} is in {row.split}; fold {split.fold} is tested"
        for row in rows
        if (row.split == "test") != (row.fold == split.fold)
    ]
    of_fold = [(row.id, f"fold {row.fold}") for row in rows]
    leaks += _in_two(role, clips, of_fold, split.group_by == "group")
    if leaks:
        return leaks  # what the folds share, the parts of each share as well
    for fold in range(split.folds):
        try:
            drawn = parts_for_fold(role, rows, clips, fold, split, seed)
        except UserError as error:
            leaks.append(str(error))
            continue
        parts = [(row.id, row.split) for row in drawn]
        leaks += _in_two(f"{role}, fold {fold}", clips, parts, split.group_by == "group")
    return leaks


def _describe(clips: Sequence[IndexedClip], rows: Sequence[SplitRow]) -> dict[str, Any]:
    """Clips, hours, groups and (for music) class shares of each part, and of each fold."""
    by_id = {clip.id: clip for clip in clips}

    def measure(ids: Iterable[str]) -> dict[str, Any]:
        there = [by_id[clip_id] for clip_id in sorted(set(ids) & by_id.keys())]
        measured: dict[str, Any] = {
            "clips": len(there),
            "hours": round(total_seconds(there) / 3600, 4),
            "groups": len({clip.group for clip in there}),
        }
        counts = Counter(clip.quadrant for clip in there if clip.quadrant)
        if counts:
            measured["classes"] = {q: round(counts[q] / len(there), 4) for q in QUADRANTS}
        return measured

    described: dict[str, Any] = {
        part: measure(ids) for part in PARTS if (ids := [r.id for r in rows if r.split == part])
    }
    folds = sorted({row.fold for row in rows if row.fold is not None})
    if folds:
        described["folds"] = [measure(row.id for row in rows if row.fold == k) for k in folds]
    return described


def _spread_groups(index: Index, splits: Splits, split: SplitConfig) -> Iterator[str]:
    """A note a role on groups in two parts, where the split is by clip and so allows them."""
    if split.group_by == "group":
        return
    for role, rows in splits.items():
        table = _placed(_clips(index, role), [(row.id, row.split) for row in rows])
        if count := len(_spread(table, "group")):
            yield (
                f"{role}: {count} of {table['group'].nunique()} groups stand in more than one part "
                "(split.group_by: clip)"
            )


def _placed(clips: Sequence[IndexedClip], parts: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """A row a clip and part, with the clip's group and audio where it is known."""
    known = {clip.id: (clip.group, clip.digest) for clip in clips}
    rows = ((name, part, *known.get(name, (None, None))) for name, part in parts)
    return pd.DataFrame(rows, columns=["clip", "part", "group", "audio"])


def _spread(table: pd.DataFrame, kind: str) -> list[tuple[str, Sequence[str]]]:
    """The clips, groups or audio of more than one part, sorted, with their parts."""
    found = table.groupby(kind)["part"].unique()
    return [(str(name), parts) for name, parts in found.items() if len(parts) > 1]


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _hashes(index: Index, splits: Splits) -> dict[str, str]:
    """Of the splits, and of all that they follow from: ids, groups, classes, audio, milliseconds."""
    clips = (
        (role, clip.id, clip.group, clip.quadrant or "", clip.digest, f"{clip.seconds:.3f}")
        for role in SOURCE_ROLES
        for clip in index.get(role, ())
    )
    parts = (
        (role, row.id, row.split, "" if row.fold is None else str(row.fold))
        for role, rows in splits.items()
        for row in rows
    )
    return {"index": _hash(clips), "splits": _hash(parts)}


def _hash(rows: Iterable[tuple[str, ...]]) -> str:
    """SHA-256 of the rows, whatever their order."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _read_certificate(folder: Path) -> dict[str, Any]:
    path = folder / CERTIFICATE
    if not path.is_file():
        raise LeakError(f"{path}: no leak certificate; run `recitative split` first")
    try:
        certificate: dict[str, Any] = read_json(path)
        SplitConfig.model_validate(certificate["split"])
        missing = {"hashes", "seed", "roles", "leaks"} - certificate.keys()
    except (ValueError, TypeError, KeyError) as error:
        raise LeakError(f"{path}: not a certificate; run `recitative split` again") from error
    if missing:
        raise LeakError(f"{path}: {_and(missing)} missing; run `recitative split` again")
    return certificate


def _read(
    splits_folder: Path, index_folder: Path | None
) -> tuple[dict[str, Any], Index, Splits, list[str]]:
    """The certificate, the index, the splits, and a sentence on each that is no longer certified."""
    certificate = _read_certificate(splits_folder)
    splits = {role: read_splits(splits_folder, role) for role in certificate["roles"]}
    index = {}
    if index_folder:
        index = {role: read_index(index_folder, role) for role in indexed_roles(index_folder)}
    now, certified = _hashes(index, splits), certificate["hashes"]
    changed = [
        f"{folder}: changed since {CERTIFICATE} was written; run `recitative split` again"
        for folder, what in ((splits_folder, "splits"), (index_folder, "index"))
        if folder and now[what] != certified[what]
    ]
    return certificate, index, splits, changed
