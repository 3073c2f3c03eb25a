"""The music of the embedded corpus: every artist plays its clips, and the raters hear them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import soundfile

from recitative.corpora.base import Language, Rating
from recitative.corpora.demo.effects import plant, unrelated
from recitative.corpora.demo.layouts import clip_path, write_4q_emotion, write_ch818
from recitative.corpora.demo.music import draw_style, play
from recitative.corpora.demo.plan import (
    DemoConfig,
    PlannedClip,
    Rater,
    draw_rater,
    draw_ratings,
    plan_clips,
)
from recitative.corpora.demo.processes import run_apart
from recitative.corpora.demo.synthesis import SAMPLE_RATE
from recitative.seeding import derive_rng


def write_music(folder: Path, config: DemoConfig, workers: int) -> None:
    """Write 4Q-Emotion's and CH-818's layout below `folder`."""
    plans: dict[Language, list[PlannedClip]] = {}
    tasks = {}
    for language in get_args(Language):
        rng = derive_rng(config.seed, "demo", "plan", language)
        plans[language] = plan_clips(language, config.music_clips, config.artists, rng)
        for artist in range(config.artists):
            clips = [clip for clip in plans[language] if clip.artist == artist]
            tasks[language, artist] = partial(
                _write_artist, folder, config, language, artist, clips
            )
    run_apart(tasks, workers, "synthetic artists")
    names = [rater.name for rater in _raters(config, "man")]
    write_4q_emotion(folder, plans["eng"], _rate(config, "eng", plans["eng"]))
    write_ch818(folder, plans["man"], _rate(config, "man", plans["man"]), names)


def _write_artist(
    folder: Path, config: DemoConfig, language: Language, artist: int, clips: Sequence[PlannedClip]
) -> None:
    style = draw_style(language, derive_rng(config.seed, "demo", "artist", language, artist))
    for clip in clips:
        rng = derive_rng(config.seed, "demo", "music", language, clip.index)
        felt = (clip.arousal, clip.valence) if config.effect == "composed" else unrelated(rng)
        samples = play(language, *felt, style, config.clip_seconds, rng)
        if config.effect != "composed":
            samples = plant(
                samples, SAMPLE_RATE, config.effect, "music", language, clip.quadrant, rng
            )
        path = clip_path(folder, language, clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE, format="MP3")


def _raters(config: DemoConfig, language: Language) -> list[Rater]:
    return [
        draw_rater(index, derive_rng(config.seed, "demo", "rater", language, index))
        for index in range(config.raters)
    ]


def _rate(
    config: DemoConfig, language: Language, clips: Sequence[PlannedClip]
) -> list[list[Rating]]:
    raters = _raters(config, language)
    return [
        draw_ratings(
            clip.arousal, clip.valence, raters, language,
            derive_rng(config.seed, "demo", "rating", language, clip.index),
        )
        for clip in clips
    ]  # fmt: skip
