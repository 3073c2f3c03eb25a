"""Emotional speech: from a corpus's categories to quadrants, and the labels beside its features.

Which quadrant a category belongs to is the table `emotions` in params.yaml: each choice is disputed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from recitative.corpora.base import EMOTION_ROLES, MUSIC_ROLES, Clip, IndexedClip, Problem
from recitative.errors import UserError
from recitative.files import read_csv, write_csv

LABELS = "labels.csv"  # in the folder of a role's features
Label = tuple[str | None, float | None, float | None]  # quadrant, arousal, valence


def with_quadrants(
    items: Iterable[Clip | Problem], role: str, emotions: Mapping[str, str]
) -> Iterator[Clip | Problem]:
    """Give each clip with a category and no quadrant the quadrant of its category.

    A clip of emotional speech that has then neither a quadrant nor ratings is left out, and so is
    music whose category gives no quadrant; how many, is one problem a category, at the end.

    Raises:
        UserError: a category is not in `emotions`.
    """
    left_out: dict[str, list[Path]] = {}
    for item in items:
        if isinstance(item, Problem):
            yield item
            continue
        clip = _placed(item, emotions) if item.emotion and item.quadrant is None else item
        rated = clip.arousal is not None or clip.valence is not None
        needed = role in EMOTION_ROLES or (role in MUSIC_ROLES and clip.emotion)
        if clip.quadrant or not needed or (rated and role in EMOTION_ROLES):
            yield clip
        else:
            left_out.setdefault(clip.emotion or "no emotion", []).append(clip.path)
    for emotion, paths in sorted(left_out.items()):
        more = f"; {len(paths) - 1} more like it" if paths[1:] else ""
        yield Problem(str(paths[0]), f"{emotion}: no quadrant, and no ratings{more}")


def _placed(clip: Clip, emotions: Mapping[str, str]) -> Clip:
    if not clip.emotion or clip.emotion not in emotions:
        raise UserError(
            f"{clip.path}: the emotion {clip.emotion!r} is not in the table of params.yaml; add "
            f"`{clip.emotion}: Q1` (or Q2, Q3, Q4, none) to `emotions`"
        )
    quadrant = emotions[clip.emotion]
    return clip if quadrant == "none" else replace(clip, quadrant=quadrant)


def write_labels(folder: Path, clips: Iterable[IndexedClip]) -> None:
    """Write ``labels.csv``, so that a pretraining depends on no index."""
    columns = ("id", "quadrant", "arousal", "valence")
    write_csv(folder / LABELS, columns, ({c: getattr(clip, c) for c in columns} for clip in clips))


def read_labels(folder: Path) -> dict[str, Label]:
    """What `write_labels` wrote, by clip; nothing where it wrote nothing."""
    path = folder / LABELS
    if not path.exists():
        return {}
    return {
        row["id"]: (row["quadrant"] or None, _number(row["arousal"]), _number(row["valence"]))
        for row in read_csv(path)
    }


def _number(text: str) -> float | None:
    return float(text) if text else None
