"""From numeric arousal and valence to a quadrant of Russell's circumplex.

The paper maps CH-818's numbers to quadrants without saying how, and leaves ties undefined (C15 in
the protocol): here the threshold and the ties are parameters, and every tie is reported.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from recitative.corpora.base import Clip, DatasetConfig, Problem
from recitative.vocabulary import SIGNS

Threshold = Literal["zero", "mean", "median"]
Ties = Literal["drop", "positive", "negative"]

# A mean over raters of, say, 0.1, 0.2 and -0.3 is zero but for the rounding of binary fractions.
TIE_TOLERANCE = 1e-9  # on the corpus's own scale


class NumericConfig(DatasetConfig):
    """The parameters of corpora whose labels are numbers."""

    threshold: Threshold = "zero"  # mean, median: over the corpus's own numeric clips
    ties: Ties = "drop"  # what a value on the threshold counts as


def threshold_of(values: Sequence[float], rule: Threshold) -> float:
    """The number that parts high from low under `rule`; `values` is not empty."""
    if rule == "zero":
        return 0.0
    return statistics.fmean(values) if rule == "mean" else statistics.median(values)


def is_tie(value: float, threshold: float) -> bool:
    """Whether `value` lies on the threshold."""
    return abs(value - threshold) <= TIE_TOLERANCE


def quadrant_of(
    arousal: float, valence: float, arousal_threshold: float, valence_threshold: float, ties: Ties
) -> str | None:
    """The quadrant: Q1 A+V+, Q2 A+V-, Q3 A-V-, Q4 A-V+ (Russell 1980).

    None for a value on its threshold where `ties` is ``drop``; else it counts as `ties` says.
    """
    signs = []
    for value, threshold in ((arousal, arousal_threshold), (valence, valence_threshold)):
        if is_tie(value, threshold):
            if ties == "drop":
                return None
            signs.append(1 if ties == "positive" else -1)
        else:
            signs.append(1 if value > threshold else -1)
    return next(name for name, both in SIGNS.items() if both == tuple(signs))


def label_quadrants(clips: Sequence[Clip], config: NumericConfig) -> Iterator[Clip | Problem]:
    """Give each clip that has arousal and valence but no quadrant its quadrant, in order.

    Every tie is a Problem with the clip's path; it is kept unless ``config.ties`` is ``drop``.
    Clips with a quadrant, and clips without numbers, pass as they are.
    """
    numeric = {
        clip: (clip.arousal, clip.valence)
        for clip in clips
        if clip.quadrant is None and clip.arousal is not None and clip.valence is not None
    }
    columns = zip(*numeric.values(), strict=True)
    thresholds = [threshold_of(column, config.threshold) for column in columns]
    for clip in clips:
        if clip not in numeric:
            yield clip
            continue
        numbers = numeric[clip]
        tied = [
            f"{name} {value:g} is on the threshold {threshold:g}"
            for name, value, threshold in zip(
                ("arousal", "valence"), numbers, thresholds, strict=True
            )
            if is_tie(value, threshold)
        ]
        quadrant = quadrant_of(*numbers, thresholds[0], thresholds[1], config.ties)
        if tied:
            outcome = f"counts as {config.ties}" if quadrant else "dropped"
            yield Problem(str(clip.path), f"tie: {' and '.join(tied)}; {outcome}", bool(quadrant))
        if quadrant:
            yield replace(clip, quadrant=quadrant)
