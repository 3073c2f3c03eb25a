"""How much the embedded corpus has, its music clip by clip, and what its simulated listeners answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from recitative.config import Section
from recitative.corpora.base import Language, Rating
from recitative.corpora.demo.effects import Effect
from recitative.vocabulary import QUADRANTS, SIGNS

# 4Q-Emotion is balanced; CH-818's shares are the supports of its test set (protocol, C14).
SHARES = {"eng": (1, 1, 1, 1), "man": (118, 39, 64, 27)}
SCALE = 10.0  # sliders run from -10 to 10
NOISE = {"eng": 2.5, "man": 4.5}  # standard deviation of one answer; the Mandarin set is noisier
MISSING = 0.03  # share of clips that a rater leaves out


class DemoConfig(Section):
    """Sizes of the embedded corpus. The seed decides every sentence, voice, note and rating."""

    speech_minutes: float = Field(default=10, gt=0, le=600)  # a language
    speakers: int = Field(default=8, ge=6, le=500)  # a language
    music_clips: int = Field(default=60, ge=15, le=9000)  # a set
    artists: int = Field(default=18, ge=15, le=500)  # a set
    clip_seconds: float = Field(default=12, ge=1, le=600)
    raters: int = Field(default=9, ge=2, le=99)  # a set
    emotion_clips: int = Field(default=12, ge=0, le=1000)  # of emotional speech, a speaker
    effect: Effect = "composed"  # what is planted: `effects.py`
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _every_artist_has_a_clip(self) -> Self:
        if self.music_clips < self.artists:
            raise ValueError(f"{self.artists} artists need as many music_clips at least")
        return self


@dataclass(frozen=True)
class PlannedClip:
    """One piece of music to be composed."""

    index: int  # its place in the set, counted from 0
    quadrant: str
    artist: int
    arousal: float  # in [-1, 1]
    valence: float


def plan_clips(
    language: Language, clips: int, artists: int, rng: np.random.Generator
) -> list[PlannedClip]:
    """Draw the plan of a music set: `clips` pieces by index, in classes as SHARES has them.

    The artists take turns, quadrant after quadrant: each has clips in several quadrants, and a
    quadrant of n clips has min(n, artists) artists. The order in the set is shuffled.
    """
    counts = apportion(clips, SHARES[language])
    quadrants = [q for q, count in zip(QUADRANTS, counts, strict=True) for _ in range(count)]
    turns = rng.permutation(artists)
    places = rng.permutation(clips)
    plan = []
    for turn, (quadrant, place) in enumerate(zip(quadrants, places, strict=True)):
        arousal, valence = draw_extent(quadrant, rng)
        plan.append(PlannedClip(int(place), quadrant, int(turns[turn % artists]), arousal, valence))
    return sorted(plan, key=lambda clip: clip.index)


def draw_extent(quadrant: str, rng: np.random.Generator) -> tuple[float, float]:
    """Arousal and valence in a quadrant, each of 0.12 to 1 in size."""
    extent = np.clip(rng.normal(0.5, 0.2, size=2), 0.12, 1)
    arousal, valence = (float(value) for value in extent * SIGNS[quadrant])
    return arousal, valence


def apportion(total: int, shares: tuple[int, ...]) -> list[int]:
    """Whole numbers that add up to `total`, in the proportion of `shares` (largest remainders)."""
    exact = total * np.array(shares) / sum(shares)
    counts = exact.astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


@dataclass(frozen=True)
class Rater:
    """A listener's habits."""

    name: str
    arousal_bias: float  # points on the slider
    valence_bias: float
    reach: float  # how far this listener moves the slider, 1 being the usual


def draw_rater(index: int, rng: np.random.Generator) -> Rater:
    """Draw listener `index`, counted from 0 and named from `r01`."""
    return Rater(f"r{index + 1:02d}", rng.normal(0, 0.7), rng.normal(0, 0.7), rng.uniform(0.7, 1.3))


def draw_ratings(
    arousal: float, valence: float, raters: Sequence[Rater], language: Language,
    rng: np.random.Generator,
) -> list[Rating]:  # fmt: skip
    """Draw the answers to one clip of this arousal and valence, each in [-1, 1] and not 0.

    The means over the raters have their signs, so that the quadrant that the raters give is the one
    the clip was composed in: answers for which they have not are drawn again.

    Returns:
        One rating a rater who answered (never none), each in [-10, 10] in steps of 0.1.
    """

    def answer(truth: float, bias: float, reach: float) -> float:
        value = SCALE * truth * reach + bias + rng.normal(0, NOISE[language])
        return round(float(np.clip(value, -SCALE, SCALE)), 1)

    while True:
        ratings = [
            Rating(
                rater.name,
                answer(arousal, rater.arousal_bias, rater.reach),
                answer(valence, rater.valence_bias, rater.reach),
            )
            for rater in raters
            if rng.random() >= MISSING
        ]
        if ratings:
            mean_arousal, mean_valence = mean_rating(ratings)
            if mean_arousal * arousal > 0 and mean_valence * valence > 0:
                return ratings


def mean_rating(ratings: Sequence[Rating]) -> tuple[float, float]:
    """Mean arousal and valence, as the annotation table prints them: three decimals."""
    arousal, valence = np.mean([(rating.arousal, rating.valence) for rating in ratings], axis=0)
    return round(float(arousal), 3), round(float(valence), 3)
