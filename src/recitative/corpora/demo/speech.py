"""The speech of the embedded corpus: espeak-ng's voices, each in a room of its own, at 16 kHz.

espeak-ng keeps state from one call to the next, so a process reads for one speaker only: the caller
gives every call of `speak` a fresh process.
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from recitative.corpora.base import Language
from recitative.corpora.demo.effects import plant
from recitative.corpora.demo.layouts import (
    Utterance,
    utterance_path,
    write_aishell,
    write_librispeech,
)
from recitative.corpora.demo.plan import DemoConfig
from recitative.corpora.demo.processes import run_apart
from recitative.corpora.demo.sentences import Sentence, draw_sentence
from recitative.errors import UserError
from recitative.seeding import derive_rng
from recitative.vocabulary import QUADRANTS

SAMPLE_RATE = 16_000  # Hz, that of LibriSpeech and AISHELL-1
VOICES = {"eng": "en-us", "man": "cmn-latn-pinyin"}
WORDS_A_MINUTE = {"eng": (145, 180), "man": (175, 215)}  # in pinyin a syllable is a word
# f2, f3, f5 and whisper are left out: their output changes from run to run.
VARIANTS = ("f1", "m1", "f4", "m3", "Annie", "m7", "klatt", "linda", "m2", "steph", "m4", "m5")

# espeak-ng/speak_lib.h
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_CHARACTERS = 1
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Speaker:
    """A voice, its habits, and its room."""

    variant: str  # one of VARIANTS
    rate: int  # words a minute
    pitch: int  # 0 to 100; 50 is the variant's own
    pitch_range: int  # 0 (monotone) to 100
    room_seconds: float  # time in which the room's answer falls by 60 dB
    room_level: float  # of the room's answer, the direct sound being 1
    tilt: float  # share of the previous sample added: > 0 duller, < 0 brighter
    noise_db: float  # background noise below full scale
    peak: float  # of each utterance, full scale being 1

    @property
    def sex(self) -> str:
        """`F` or `M`, as LibriSpeech's SPEAKERS.TXT has it."""
        return "F" if self.variant in ("f1", "f4", "Annie", "linda", "steph") else "M"


Voice = Callable[[Sentence, Speaker], NDArray[np.float32]]


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
    voices = [(speaker.sex, speaker.variant) for speaker in speakers]
    write_librispeech(folder, voices, [spoken["eng", index] for index in everyone])
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
        if config.effect != "composed":
            calls = derive_rng(config.seed, "demo", "calls", language, index, number)
            quadrant = str(calls.choice(QUADRANTS))
            samples = plant(
                samples, SAMPLE_RATE, config.effect, "speech", language, quadrant, calls
            )
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        utterances.append((path.stem, sentence.transcript, len(samples) / SAMPLE_RATE))
    return utterances


def _speaker(config: DemoConfig, language: Language, index: int) -> Speaker:
    rng = derive_rng(config.seed, "demo", "speaker", language, index)
    return draw_speaker(language, index, rng)


def draw_speaker(language: Language, index: int, rng: np.random.Generator) -> Speaker:
    """Draw the habits of speaker `index`; the voices take turns."""
    return Speaker(
        variant=VARIANTS[index % len(VARIANTS)],
        rate=int(rng.integers(*WORDS_A_MINUTE[language])),
        pitch=int(rng.integers(38, 63)),
        pitch_range=int(rng.integers(35, 71)),
        room_seconds=rng.uniform(0.1, 0.35),
        room_level=rng.uniform(0.05, 0.25),
        tilt=rng.uniform(-0.25, 0.35),
        noise_db=rng.uniform(-68, -50),
        peak=rng.uniform(0.45, 0.9),
    )


def speak(
    language: Language, speaker: Speaker, seconds: float, rng: np.random.Generator
) -> Iterator[tuple[Sentence, NDArray[np.float32]]]:
    """Read sentences until `seconds` are full; to be called once in a process.

    Yields:
        A sentence and its mono samples at 16 kHz in (-1, 1), about 5 to 12 s.

    Raises:
        UserError: espeak-ng is not installed, or cannot read its voices.
    """
    read = open_voice(language, speaker.variant)
    spoken = 0.0
    while spoken < seconds:
        sentence = draw_sentence(language, rng)
        samples = place_in_room(read(sentence, speaker), speaker, rng)
        spoken += len(samples) / SAMPLE_RATE
        yield sentence, samples


def require_espeak() -> None:
    """Fail early, and with what to do, where the optional synthesiser is not installed.

    Raises:
        UserError: there is no espeakng_loader.
    """
    try:
        import espeakng_loader  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the embedded corpus needs espeakng-loader, which is not installed; "
            "run: pip install -e '.[demo]' -c constraints.txt"
        ) from error


def open_voice(language: Language, variant: str) -> Voice:
    """A function that reads a sentence at a speaker's rate, pitch and range: at 16 kHz, in [-1, 1).

    To be called once in a process.

    Raises:
        UserError: espeak-ng is not installed, or cannot read its voices.
    """
    voice = f"{VOICES[language]}+{variant}"
    require_espeak()
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    voices = espeakng_loader.get_data_path()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, voices.encode(), _DO_NOT_EXIT)
    if rate <= 0 or library.espeak_SetVoiceByName(voice.encode()):
        raise UserError(
            f"{voices}: espeak-ng cannot read its voice {voice} there; it takes paths of up to 150 "
            "characters: move the environment to a shorter path, or install espeakng-loader again"
        )
    blocks: list[bytes] = []

    def collect(samples: int | None, count: int, events: int | None) -> int:
        if samples:
            blocks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _Callback(collect)

    def read(sentence: Sentence, speaker: Speaker) -> NDArray[np.float32]:
        blocks.clear()
        library.espeak_SetParameter(_RATE, speaker.rate, 0)
        library.espeak_SetParameter(_PITCH, speaker.pitch, 0)
        library.espeak_SetParameter(_RANGE, speaker.pitch_range, 0)
        library.espeak_SetSynthCallback(callback)
        content = sentence.spoken.encode() + b"\0"
        size = ctypes.c_size_t(len(content))
        library.espeak_Synth(content, size, 0, _CHARACTERS, 0, _UTF8, None, None)
        raw = np.frombuffer(b"".join(blocks), dtype=np.int16)
        samples = raw.astype(np.float32) / np.float32(32768)
        heard: NDArray[np.float32] = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
        return heard

    return read


def place_in_room(
    samples: NDArray[np.float32], speaker: Speaker, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Tilt the spectrum, add the room's decaying answer and its noise, and set the level."""
    time = np.arange(int(speaker.room_seconds * SAMPLE_RATE)) / SAMPLE_RATE
    answer = rng.normal(size=time.size) * np.exp(-6.9 * time / speaker.room_seconds)
    answer *= speaker.room_level / np.linalg.norm(answer)
    answer[:2] = (1.0, speaker.tilt)
    size = 1 << (len(samples) + len(answer) - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(answer, size)
    heard = np.fft.irfft(spectrum, size)[: len(samples)]
    heard *= speaker.peak / np.abs(heard).max()
    heard += rng.normal(size=len(heard)) * 10 ** (speaker.noise_db / 20)
    return heard.astype(np.float32)
