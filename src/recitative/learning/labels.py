"""What the listeners' answers teach: the majority, their distribution, or only what they agree on.

Only training and validation labels change. The test songs keep the set's own annotation, so that
the three kinds are compared on the same truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from recitative.errors import UserError
from recitative.learning.config import LabelKind
from recitative.learning.segments import LabelledSegments


@dataclass(frozen=True)
class Opinion:
    """What the listeners of one clip say."""

    shares: np.ndarray  # (4,) of those who chose a quadrant, sum 1
    agreement: float  # share of all listeners who chose the most chosen quadrant, 0..1


def training_labels(
    segments: LabelledSegments, opinions: Mapping[str, Opinion], kind: LabelKind
) -> LabelledSegments:
    """The segments with the labels to train on; a clip that nobody rated keeps its annotation.

    Of the kinds `majority` and `reliable` take the most chosen quadrant (of equals the annotated one),
    `soft` the distribution. `opinions` are by clip id; empty where a set has no listeners' answers.
    """
    shares = np.eye(4, dtype=np.float32)[segments.clip_quadrant]
    majority = segments.clip_quadrant.copy()
    for index, clip in enumerate(segments.clips):
        if opinion := opinions.get(clip):
            shares[index] = opinion.shares
            most = np.flatnonzero(opinion.shares == opinion.shares.max())
            if majority[index] not in most:
                majority[index] = most[0]
    soft = {"shares": shares} if kind == "soft" else {}
    return replace(segments, clip_quadrant=majority, **soft)


def reliable_part(
    segments: LabelledSegments,
    part: np.ndarray,
    opinions: Mapping[str, Opinion],
    threshold: float,
) -> np.ndarray:
    """The segments of `part` whose clip reaches the agreement; unrated clips stay.

    Raises:
        UserError: nothing is left, or not every class.
    """
    agreed = np.array(
        [clip not in opinions or opinions[clip].agreement >= threshold for clip in segments.clips]
    )
    kept: np.ndarray = part[agreed[segments.clip[part]]]
    lost = set(segments.quadrant[part].tolist()) - set(segments.quadrant[kept].tolist())
    if lost:
        raise UserError(
            f"params.yaml: transfer.reliable_agreement: {threshold:g} leaves no training clip of "
            f"{len(lost)} quadrant(s), Q{min(lost) + 1} first; lower it"
        )
    return kept
