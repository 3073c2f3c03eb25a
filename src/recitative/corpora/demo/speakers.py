"""The speech of the embedded corpus: every speaker reads until its share is full."""

from functools import partial
from pathlib import Path
from typing import get_args

import soundfile

from recitative.corpora.base import Language
from recitative.corpora.demo.layouts import (
    Utterance,
    utterance_path,
    write_aishell,
    write_librispeech,
)
from recitative.corpora.demo.processes import run_apart
from recitative.corpora.demo.sizes import DemoConfig
from recitative.corpora.demo.speech import SAMPLE_RATE, Speaker, draw_speaker, speak
from recitative.seeding import derive_rng


def write_speech(folder: Path, config: DemoConfig, workers: int) -> None:
    """Write LibriSpeech's and AISHELL-1's layout below `folder`.

    Raises:
        UserError: espeak-ng is not installed, cannot read its voices, or has crashed.
    """
    everyone = range(config.speakers)
    tasks = {
        (language, index): partial(_write_speaker, folder, config, language, index)
        for language in get_args(Language)
        for index in everyone
    }
    spoken = run_apart(tasks, workers, "synthetic speakers")
    speakers = [_speaker(config, "eng", index) for index in everyone]
    write_librispeech(folder, speakers, [spoken["eng", index] for index in everyone])
    write_aishell(folder, [spoken["man", index] for index in everyone])


def _write_speaker(
    folder: Path, config: DemoConfig, language: Language, index: int
) -> list[Utterance]:
    rng = derive_rng(config.seed, "demo", "speech", language, index)
    seconds = 60 * config.speech_minutes / config.speakers
    speaker = _speaker(config, language, index)
    utterances = []
    for number, (sentence, samples) in enumerate(speak(language, speaker, seconds, rng)):
        path = utterance_path(folder, language, index, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        utterances.append(Utterance(path.stem, sentence.transcript, len(samples) / SAMPLE_RATE))
    return utterances


def _speaker(config: DemoConfig, language: Language, index: int) -> Speaker:
    rng = derive_rng(config.seed, "demo", "speaker", language, index)
    return draw_speaker(language, index, rng)
