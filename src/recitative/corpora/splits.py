"""Train, validation and test: no group and no audio in two of them, classes in their shares.

The paper splits music 70/30 and then 85/15, speech 85/15 (ICASSP 2021, section 3), by song and by
utterance. Here, by default, by artist and by speaker. `SplitConfig.leak` re-creates a fault found
in the released code, so that its price can be measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from recitative.config import Section
from recitative.corpora.balance import BalanceConfig, balance, choose_seconds, total_seconds
from recitative.corpora.base import MIXES, MUSIC_ROLES, SOURCE_ROLES, IndexedClip
from recitative.corpora.stratify import Unit, check_groups, draw, group_units
from recitative.errors import UserError
from recitative.files import stream_csv, write_csv
from recitative.seeding import derive_rng
from recitative.vocabulary import QUADRANTS

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
NOTABLE = 0.02  # a part that misses its share of the role by more than this gets a note


class SplitConfig(Section):
    """How clips are divided. Shares are fractions of the clips (music) or seconds (speech)."""

    scheme: Literal["holdout", "grouped_folds"] = "holdout"  # folds: music only; speech holds out
    speech_validation: float = Field(0.15, gt=0, lt=1)
    music_test: float = Field(0.30, gt=0, lt=1)  # holdout; with folds the test is one fold
    music_validation: float = Field(0.15, gt=0, lt=1)  # of what the test leaves
    folds: int = Field(5, ge=2, le=20)
    fold: int = Field(0, ge=0)  # the fold that the column `split` tests
    balance_tolerance: float = Field(0.01, gt=0, lt=1)  # of the hours asked for
    group_by: Literal["group", "clip"] = "group"  # clip: the paper's, by song and by utterance
    # released: all songs, the test's too, are divided again into train and validation
    leak: Literal["none", "released"] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is not one of the {self.folds} folds, 0 is first")
        if self.leak == "released" and self.scheme != "holdout":
            raise ValueError("leak: released re-creates a holdout; set scheme: holdout")
        return self


@dataclass(frozen=True)
class SplitRow:
    """Where one clip stands."""

    id: str
    split: Part
    fold: int | None = None  # the fold in which it is tested; None without folds


def make_splits(
    index: Mapping[str, Sequence[IndexedClip]],
    split: SplitConfig,
    balance_to: BalanceConfig,
    seed: int,
) -> tuple[dict[str, list[SplitRow]], list[str]]:
    """Balance and split every role, and draw the mixed speech from the split parts.

    Equal seeds give equal splits, whatever the order of the clips.

    Returns:
        The rows of every role, of the index and of its mixes, sorted by id, and notes on what could
        not be met.

    Raises:
        UserError: a role is empty or has an id twice, a music clip has no quadrant, or a class has
            too few groups.
    """
    splits: dict[str, list[SplitRow]] = {}
    notes: list[str] = []
    for role in SOURCE_ROLES:
        if role not in index:
            continue
        clips = index[role]
        _check(role, clips)
        hours = balance_to.music_hours if role in MUSIC_ROLES else balance_to.speech_hours
        chosen, short = balance(role, clips, hours, split.balance_tolerance, seed)
        splits[role] = split_role(role, chosen, split, seed)
        notes += short + _share_notes(role, chosen, splits[role], split)
    for mix, sources in MIXES.items():
        if all(role in index for role in sources):
            splits[mix], short = mix_speech(
                mix, index, splits, split, balance_to.speech_hours, seed
            )
            notes += short
    return splits, notes


def split_role(
    role: str, clips: Sequence[IndexedClip], split: SplitConfig, seed: int
) -> list[SplitRow]:
    """One row a clip of one role of SOURCE_ROLES, sorted by id; two a test song under ``leak: released``.

    Raises:
        UserError: a class (or the role, for speech) has fewer groups than it needs.
    """
    if role in MUSIC_ROLES and split.scheme == "grouped_folds":
        return _fold_rows(role, clips, split, seed)
    units, rng = group_units(role, clips, split.group_by), derive_rng(seed, "split", role)
    if role not in MUSIC_ROLES:
        held, rest = draw(role, units, split.speech_validation, rng)
        return _rows({"validation": held, "train": rest})
    test, rest = draw(role, units, split.music_test, rng, leave=2)
    again = units if split.leak == "released" else rest
    validation, train = draw(role, again, split.music_validation, rng)
    return _rows({"test": test, "validation": validation, "train": train})


def parts_for_fold(
    role: str,
    rows: Sequence[SplitRow],
    clips: Sequence[IndexedClip],
    fold: int,
    split: SplitConfig,
    seed: int,
) -> list[SplitRow]:
    """Train, validation and test where `fold` is the one that is tested.

    Settings and seed are those that the rows were made with; clips without a row are left out.

    Returns:
        The rows with `split` set for that fold, sorted by id.

    Raises:
        UserError: the rows have no such fold, or the rest cannot be divided by class and group.
    """
    folds = {row.id: row.fold for row in rows}
    if fold not in folds.values():
        raise UserError(f"splits/{role}.csv: no fold {fold}; set split.scheme: grouped_folds")
    known = [clip for clip in clips if clip.id in folds]
    test, rest = (
        group_units(role, [c for c in known if (folds[c.id] == fold) == tested], split.group_by)
        for tested in (True, False)
    )
    rng = derive_rng(seed, "split", role, "validation", fold)
    held, left = draw(role, rest, split.music_validation, rng)
    return _rows({"test": test, "validation": held, "train": left}, folds)


def mix_speech(
    mix: str,
    index: Mapping[str, Sequence[IndexedClip]],
    splits: Mapping[str, Sequence[SplitRow]],
    split: SplitConfig,
    hours: float | None,
    seed: int,
) -> tuple[list[SplitRow], list[str]]:
    """Draw one of MIXES: half English, half Mandarin by duration, in each part.

    Every clip keeps the part that it has in its own language, so that a model pretrained on the
    mix has trained on nothing that the others validate on. `hours` are those of the whole mix; None
    takes as much as the shorter language allows.

    Returns:
        The rows, sorted by id, and a note where the hours or the halves could not be met.
    """
    share: dict[Part, float] = {
        "train": 1 - split.speech_validation,
        "validation": split.speech_validation,
    }
    english, mandarin = sources = MIXES[mix]
    clips = {role: {clip.id: clip for clip in index[role]} for role in sources}
    if both := clips[english].keys() & clips[mandarin].keys():
        raise UserError(
            f"index/{english}.csv, index/{mandarin}.csv: {min(both)} stands in both; give the two "
            "corpora different names or paths"
        )
    rows: list[SplitRow] = []
    seconds = dict.fromkeys(sources, 0.0)
    for part in share:
        there = {
            role: [clips[role][row.id] for row in splits[role] if row.split == part]
            for role in sources
        }
        half = min(total_seconds(there[role]) for role in sources)
        if hours is not None:
            half = min(half, hours * 3600 / 2 * share[part])
        for role in sources:
            rng = derive_rng(seed, "split", mix, role, part)
            chosen = choose_seconds(there[role], half, rng)
            seconds[role] += total_seconds(chosen)
            rows += [SplitRow(clip.id, part) for clip in chosen]
    got, wanted = sum(seconds.values()), (hours or 0) * 3600
    notes = []
    if hours is not None and abs(got - wanted) > wanted * split.balance_tolerance:
        notes.append(f"{mix}: {hours:.4g} h asked, {got / 3600:.4g} h drawn")
    if abs(seconds[english] - got / 2) > got / 2 * split.balance_tolerance:
        notes.append(f"{mix}: {seconds[english] / got:.1%} of its duration is English")
    return sorted(rows, key=lambda row: row.id), notes


def write_splits(folder: Path, role: str, rows: Sequence[SplitRow]) -> None:
    """Write ``<role>.csv``: id, split, and fold where folds are used."""
    columns = ["id", "split"] + ["fold"] * any(row.fold is not None for row in rows)
    content = ({name: getattr(row, name) for name in columns} for row in rows)
    write_csv(folder / f"{role}.csv", columns, content)


def read_splits(folder: Path, role: str) -> list[SplitRow]:
    """Read what `write_splits` wrote; an id that stands there twice is kept twice.

    Raises:
        UserError: the file is missing, or a row in it is not a split.
    """
    path = folder / f"{role}.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `recitative split` first")
    rows = []
    for line, row in enumerate(stream_csv(path), start=2):
        part = next((p for p in PARTS if p == row.get("split")), None)
        fold = row.get("fold") or None
        if not row.get("id") or part is None or not (fold is None or fold.isdecimal()):
            raise UserError(f"{path}:{line}: not a split: {row}; run `recitative split` again")
        rows.append(SplitRow(row["id"], part, None if fold is None else int(fold)))
    return rows


def _fold_rows(
    role: str, clips: Sequence[IndexedClip], split: SplitConfig, seed: int
) -> list[SplitRow]:
    """Draw the folds one after another, and the parts of `split.fold`."""
    rest, rng = group_units(role, clips, split.group_by), derive_rng(seed, "split", role)
    least = 2 if split.folds == 2 else 1  # what one fold leaves must still give two parts
    check_groups(role, rest, least * split.folds)
    fold_of: dict[str, int] = {}
    for fold in range(split.folds - 1):
        later = split.folds - fold - 1
        drawn, rest = draw(role, rest, 1 / (later + 1), rng, least=least, leave=least * later)
        fold_of |= {clip_id: fold for unit in drawn for clip_id in unit.ids}
    fold_of |= {clip_id: split.folds - 1 for unit in rest for clip_id in unit.ids}
    rows = [SplitRow(clip_id, "train", fold) for clip_id, fold in fold_of.items()]
    parts = [parts_for_fold(role, rows, clips, fold, split, seed) for fold in range(split.folds)]
    return parts[split.fold]


def _check(role: str, clips: Sequence[IndexedClip]) -> None:
    """Raise UserError where the clips of a role cannot be split at all."""
    if not clips:
        raise UserError(f"index/{role}.csv: no clips; check datasets.{role} in params.yaml")
    ids: set[str] = set()
    for clip in clips:
        if clip.id in ids:
            raise UserError(f"index/{role}.csv: {clip.id} stands there twice; remove one")
        if role in MUSIC_ROLES and clip.quadrant not in QUADRANTS:
            raise UserError(
                f"index/{role}.csv: {clip.id} has quadrant {clip.quadrant!r}; known: "
                f"{', '.join(QUADRANTS)}; annotate it or remove it"
            )
        ids.add(clip.id)


def _share_notes(
    role: str, clips: Sequence[IndexedClip], rows: Sequence[SplitRow], split: SplitConfig
) -> list[str]:
    """Where the groups are too few or too large to come near the shares asked for."""
    if split.leak == "released" or (role in MUSIC_ROLES and split.scheme == "grouped_folds"):
        return []
    music = role in MUSIC_ROLES
    test = split.music_test if music else 0.0
    validation = split.music_validation * (1 - test) if music else split.speech_validation
    weight = {clip.id: 1.0 if music else clip.seconds for clip in clips}
    whole = sum(weight.values())
    notes = []
    for part, asked in (("test", test), ("validation", validation)):
        got = sum(weight[row.id] for row in rows if row.split == part) / whole
        if abs(got - asked) > NOTABLE:
            notes.append(
                f"{role}: {part} holds {got:.1%} of the {'clips' if music else 'seconds'}, "
                f"{asked:.1%} asked: its groups do not divide better"
            )
    return notes


def _rows(
    parts: Mapping[Part, Sequence[Unit]], folds: Mapping[str, int | None] | None = None
) -> list[SplitRow]:
    """A row a clip, sorted by id, with its fold where there are `folds`."""
    ids = ((clip_id, part) for part, units in parts.items() for u in units for clip_id in u.ids)
    return [SplitRow(clip_id, part, (folds or {}).get(clip_id)) for clip_id, part in sorted(ids)]
