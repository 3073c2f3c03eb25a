"""Effects that are planted in the embedded corpora, so that it is known what there is to be found.

Over each piece of speech or music lie two trains of short calls, one in a low and one in a high band.
A call glides up or down, once or there and back: four shapes of the same length and range, one a
quadrant. In one of the bands, which `TELLING` names, they are those of the quadrant; in the other they
are those of a quadrant drawn at random, and so is the emotion with which the voice or the piece below
was made. Single calls err, and level, pace, range and length vary, so that neither the mean spectrum
nor one call gives a quadrant away. docs/truth.md has the figures, and what is to be found.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recitative.corpora.base import Language
from recitative.vocabulary import QUADRANTS, SIGNS

Planted = Literal["none", "pretraining", "language"]
Effect = Literal["composed", "none", "pretraining", "language"]  # composed: no calls at all
Kind = Literal["speech", "music"]

BANDS = {"low": (600.0, 1200.0), "high": (2400.0, 4800.0)}  # Hz
# The band that tells the quadrant, by language. Where nothing is planted, it is told in speech alone.
TELLING: dict[Planted, dict[Kind, dict[Language, str]]] = {
    "none": {"speech": {"eng": "low", "man": "low"}, "music": {}},
    "pretraining": {
        "speech": {"eng": "low", "man": "low"},
        "music": {"eng": "low", "man": "low"},
    },
    "language": {
        "speech": {"eng": "low", "man": "high"},
        "music": {"eng": "low", "man": "high"},
    },
}
RIGHT = 0.7  # share of calls that have the quadrant's shape; the others have any of the four
LEVEL = (0.0, 8.0)  # dB of a train above what it lies over, drawn once a piece
CALL_LEVEL = 2.0  # dB, standard deviation of one call
PACE = (2.5, 4.0)  # calls a second, drawn once a piece; each gap is up to 20 % longer or shorter
CALL_SECONDS = (0.16, 0.24)
SHIFT = 0.15  # octaves by which a call's range is moved, up or down


def plant(
    samples: NDArray[np.float32],
    rate: int,
    effect: Planted,
    kind: Kind,
    language: Language,
    quadrant: str,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Mono samples at `rate` Hz with both trains of calls over them, at the peak that they had."""
    telling = TELLING[effect][kind].get(language)
    power = float(np.sqrt(np.mean(samples**2)))
    mix = samples.astype(np.float64)
    for name in BANDS:
        calls = quadrant if name == telling else str(rng.choice(QUADRANTS))
        mix += power * 10 ** (rng.uniform(*LEVEL) / 20) * train(name, calls, len(mix), rate, rng)
    planted: NDArray[np.float32] = mix.astype(np.float32)
    return planted * np.float32(np.abs(samples).max() / np.abs(planted).max())


def train(
    band: str, quadrant: str, size: int, rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A train of calls for a quadrant: (size,) samples at `rate` Hz, of amplitude about 1."""
    out = np.zeros(size)
    pace = rng.uniform(*PACE)
    at = rng.uniform(0, 1 / pace)
    while (start := round(at * rate)) < size:
        shape = quadrant if rng.random() < RIGHT else str(rng.choice(QUADRANTS))
        sound = call(band, shape, rate, rng)[: size - start]
        out[start : start + len(sound)] += 10 ** (rng.normal(0, CALL_LEVEL) / 20) * sound
        at += rng.uniform(0.8, 1.2) / pace
    return out


def call(band: str, quadrant: str, rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One call: a tone that glides through the band.

    With positive valence it begins upwards, with negative valence downwards; with positive arousal it
    comes back, in the same time.
    """
    arousal, valence = SIGNS[quadrant]
    way = np.linspace(0, 1, round(rng.uniform(*CALL_SECONDS) * rate))
    height = 1 - np.abs(2 * way - 1) if arousal > 0 else way
    if valence < 0:
        height = 1 - height
    low, high = np.array(BANDS[band]) * 2 ** rng.uniform(-SHIFT, SHIFT)
    phase = 2 * np.pi * np.cumsum(low * (high / low) ** height) / rate
    ramps = np.minimum(1, 20 * np.minimum(way, 1 - way))  # short, or the ends would weigh less
    tone: NDArray[np.float64] = np.sin(phase) * ramps
    return tone


def unrelated(rng: np.random.Generator) -> tuple[float, float]:
    """An arousal and a valence that have nothing to do with a label, each in [-1, 1]."""
    arousal, valence = rng.uniform(-1, 1, size=2)
    return float(arousal), float(valence)
