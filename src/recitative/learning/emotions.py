"""What a clip of emotional speech teaches: codes of quadrant, arousal and valence, -1 where unknown."""

from collections.abc import Mapping, Sequence

import numpy as np

from recitative.models.classifier import TASKS
from recitative.models.emotion import UNKNOWN
from recitative.vocabulary import QUADRANTS, SIGNS

Labels = Mapping[str, tuple[int, ...]]  # by clip: a code a task, in the order of TASKS


def emotion_codes(
    quadrant: str | None, arousal: float | None, valence: float | None
) -> tuple[int, ...]:
    """Codes (3,) of quadrant, arousal and valence.

    Arousal and valence, in any unit around 0, are the ratings' signs; without a rating, or with one
    of exactly 0, they are the quadrant's.
    """
    signs = SIGNS[quadrant] if quadrant else (0, 0)
    positive = [
        UNKNOWN if not (value or sign) else int((value or sign) > 0)
        for value, sign in zip((arousal, valence), signs, strict=True)
    ]
    return (QUADRANTS.index(quadrant) if quadrant else UNKNOWN, *positive)


def label_array(labels: Labels, clip_ids: Sequence[str]) -> np.ndarray:
    """The codes of these clips, (C, 3) int64; a clip without labels has none that is known."""
    unknown = (UNKNOWN,) * len(TASKS)
    return np.array([labels.get(clip, unknown) for clip in clip_ids], np.int64).reshape(-1, 3)


def permuted(labels: Labels, clip_ids: Sequence[str], rng: np.random.Generator) -> Labels:
    """The same labels, those of `clip_ids` permuted among these clips: all three codes together."""
    ids = sorted(clip for clip in clip_ids if clip in labels)
    order = rng.permutation(len(ids))
    return {**labels, **{clip: labels[ids[i]] for clip, i in zip(ids, order, strict=True)}}
