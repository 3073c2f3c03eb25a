"""The emotional speech of the embedded corpus, in ESD's layout: espeak-ng reads with feeling.

The cues and their directions are those of people who act emotions: with arousal, speech is faster,
higher, wider in its melody, louder and brighter; with valence, a little higher and wider (Juslin and
Laukka, "Communication of emotions in vocal expression and music performance", Psychological Bulletin
129, 2003). Each cue is drawn around its direction with a wide spread, on top of each speaker's own
habits, so that no cue gives a quadrant away. ESD itself has no category of Q4; here it is Calm.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import soundfile
from numpy.typing import NDArray

from recitative.corpora.base import Language
from recitative.corpora.demo.effects import plant, unrelated
from recitative.corpora.demo.plan import DemoConfig, draw_extent
from recitative.corpora.demo.processes import run_apart
from recitative.corpora.demo.sentences import draw_sentence
from recitative.corpora.demo.speech import (
    SAMPLE_RATE,
    Speaker,
    Voice,
    draw_speaker,
    open_voice,
    place_in_room,
)
from recitative.seeding import derive_rng
from recitative.vocabulary import QUADRANTS

FOLDER = "ESD"
CATEGORIES = {"Q1": ("Happy", "Surprise"), "Q2": ("Angry",), "Q3": ("Sad",), "Q4": ("Calm",)}
FIRST = {"man": 1, "eng": 11}  # number of each language's first speaker
MOST = 10  # speakers a language, as ESD has them
SPREAD = 0.35  # standard deviation of a cue around its direction, as of arousal and valence


@dataclass(frozen=True)
class PlannedSpeech:
    """One utterance to be spoken."""

    index: int  # among the speaker's
    speaker: int  # counted from 0
    quadrant: str
    arousal: float  # in [-1, 1]
    valence: float
    category: str  # ESD's name for the emotion


def plan_emotions(config: DemoConfig, language: Language) -> list[PlannedSpeech]:
    """The utterances of every speaker: as many in each quadrant, in turn."""
    rng = derive_rng(config.seed, "demo", "emotion plan", language)
    plan = []
    for speaker in range(min(config.speakers, MOST)):
        for index in range(config.emotion_clips):
            quadrant = QUADRANTS[index % len(QUADRANTS)]
            names = CATEGORIES[quadrant]
            category = names[index // len(QUADRANTS) % len(names)]
            arousal, valence = draw_extent(quadrant, rng)
            plan.append(PlannedSpeech(index, speaker, quadrant, arousal, valence, category))
    return plan


def express(planned: PlannedSpeech, speaker: Speaker, rng: np.random.Generator) -> Speaker:
    """The speaker as this emotion makes him or her speak: rate, pitch, range, level and spectrum."""

    def lean(on_arousal: float, on_valence: float) -> float:
        pull = on_arousal * planned.arousal + on_valence * planned.valence
        return float(pull + rng.normal(0, SPREAD))

    return replace(
        speaker,
        rate=int(speaker.rate * 2 ** (0.4 * lean(0.7, 0.1))),
        pitch=int(np.clip(speaker.pitch + 22 * lean(0.6, 0.3), 5, 95)),
        pitch_range=int(np.clip(speaker.pitch_range + 35 * lean(0.5, 0.4), 5, 100)),
        peak=float(np.clip(speaker.peak * 10 ** (0.25 * lean(0.8, -0.1)), 0.05, 0.95)),
        tilt=float(np.clip(speaker.tilt - 0.3 * lean(0.7, 0), -0.7, 0.7)),
    )


def write_emotions(folder: Path, config: DemoConfig, workers: int) -> None:
    """Write ESD's layout below `folder`; without `config.emotion_clips` nothing.

    Raises:
        UserError: espeak-ng is not installed, cannot read its voices, or has crashed.
    """
    plans = {language: plan_emotions(config, language) for language in get_args(Language)}
    tasks = {
        (language, speaker): partial(
            _write_speaker, folder / FOLDER, config, language,
            [one for one in plan if one.speaker == speaker],
        )
        for language, plan in plans.items()
        for speaker in {one.speaker for one in plan}
    }  # fmt: skip
    if tasks:
        run_apart(tasks, workers, "synthetic emotions")


def _write_speaker(
    folder: Path, config: DemoConfig, language: Language, plan: list[PlannedSpeech]
) -> None:
    number = plan[0].speaker
    rng = derive_rng(config.seed, "demo", "emotion speaker", language, number)
    speaker = draw_speaker(language, number, rng)
    read = open_voice(language, speaker.variant)
    name = f"{FIRST[language] + number:04d}"
    for planned in plan:
        calls = derive_rng(config.seed, "demo", "emotion calls", language, number, planned.index)
        acted = planned
        if config.effect != "composed":
            arousal, valence = unrelated(calls)
            acted = replace(planned, arousal=arousal, valence=valence)
        samples = render_emotion(acted, language, speaker, read, config.seed)
        if config.effect != "composed":
            quadrant = planned.quadrant
            samples = plant(
                samples, SAMPLE_RATE, config.effect, "speech", language, quadrant, calls
            )
        path = folder / name / planned.category / f"{name}_{planned.index + 1:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")


def render_emotion(
    planned: PlannedSpeech, language: Language, speaker: Speaker, read: Voice, seed: int
) -> NDArray[np.float32]:
    """One utterance as mono samples at 16 kHz in (-1, 1), about 3 s.

    Every sentence is read by every speaker in every quadrant, so that the text tells no emotion.
    """
    text = derive_rng(seed, "demo", "emotion text", language, planned.index // len(QUADRANTS))
    sentence = draw_sentence(language, text, clauses=1)
    rng = derive_rng(seed, "demo", "emotion", language, planned.speaker, planned.index)
    acting = express(planned, speaker, rng)
    return place_in_room(read(sentence, acting), acting, rng)
