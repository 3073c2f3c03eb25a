"""A small additive synthesiser: notes in, samples out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 22_050  # Hz
PEAK = 0.55  # MP3 overshoots what a tanh has flattened: this leaves it room below full scale
PARTIALS = 14  # at most, in a note


@dataclass(frozen=True)
class Timbre:
    """How the partials of an instrument stand to each other, and how they come and go."""

    slope: float  # partial k has the amplitude k ** -slope
    even: float  # share that the even partials keep
    decay: float  # 1/s, of the first partial; 0 for a sustained sound
    attack: float  # s
    vibrato: float  # cents
    sung: bool = False  # whether vowels shape the partials


TIMBRES = {
    "piano": Timbre(1.5, 0.9, 1.8, 0.006, 0),
    "guitar": Timbre(1.2, 0.7, 2.8, 0.004, 0),
    "organ": Timbre(1.0, 0.8, 0.0, 0.03, 4),
    "strings": Timbre(1.1, 1.0, 0.0, 0.09, 14),
    "clarinet": Timbre(1.1, 0.25, 0.0, 0.04, 8),
    "voice": Timbre(0.8, 1.0, 0.0, 0.05, 25, sung=True),
    "guzheng": Timbre(0.9, 0.9, 3.2, 0.003, 6),
    "pipa": Timbre(0.7, 0.8, 5.0, 0.003, 0),
    "yangqin": Timbre(1.3, 0.6, 2.2, 0.003, 0),
    "erhu": Timbre(0.9, 0.9, 0.0, 0.07, 28),
    "dizi": Timbre(1.7, 0.6, 0.0, 0.04, 18),
    "sheng": Timbre(1.0, 1.0, 0.0, 0.05, 3),
}

# First two formants of sung vowels, Hz (a, e, i, o, u), and a singer's third.
VOWELS = (
    (800, 1200, 2800), (500, 1900, 2700), (300, 2300, 3000), (500, 900, 2600), (350, 700, 2500),
)  # fmt: skip
_FORMANT_WIDTH = 130.0  # Hz


@dataclass(frozen=True)
class Note:
    """One tone."""

    onset: float  # s
    seconds: float
    pitch: float  # MIDI number
    level: float  # 1 is the lead's usual
    timbre: str  # a name in TIMBRES
    vowel: int = 0  # index in VOWELS


@dataclass(frozen=True)
class Beat:
    """One stroke of percussion."""

    onset: float  # s
    level: float
    low: bool  # a drum; else a rattle


def render(
    notes: Sequence[Note], beats: Sequence[Beat], seconds: float, brightness: float, drive: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:  # fmt: skip
    """Add notes and percussion up; notes past the end are cut.

    `brightness` is taken off every timbre's slope. `drive` is the gain into a tanh, which
    compresses: about 0.5 (untouched) to 6 (loud throughout).

    Returns:
        Mono samples at 22.05 kHz, of peak PEAK.
    """
    mix = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for note in notes:
        _add(mix, note.onset, _tone(note, brightness))
    strokes = {low: _stroke(low, rng) for low in (True, False)}
    for beat in beats:
        _add(mix, beat.onset, np.float32(beat.level) * strokes[beat.low])
    mix *= np.float32(drive / (4 * np.sqrt(np.mean(mix**2)) + 1e-9))
    mix = np.tanh(mix)
    fade = np.linspace(0, 1, SAMPLE_RATE // 20, dtype=np.float32)
    mix[: fade.size] *= fade
    mix[-fade.size :] *= fade[::-1]
    return mix * np.float32(PEAK / np.abs(mix).max())


def _add(mix: NDArray[np.float32], onset: float, sound: NDArray[np.float32]) -> None:
    start = round(onset * SAMPLE_RATE)
    room = mix[start : start + sound.size]
    room += sound[: room.size]


def _tone(note: Note, brightness: float) -> NDArray[np.float32]:
    timbre = TIMBRES[note.timbre]
    release = 0.06
    time = np.arange(round((note.seconds + release) * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    frequency = 440 * 2 ** ((note.pitch - 69) / 12)
    k = np.arange(1, min(PARTIALS, int(0.45 * SAMPLE_RATE / frequency)) + 1)
    amplitude = k ** -(timbre.slope - brightness) * np.where(k % 2, 1.0, timbre.even)
    if timbre.sung:
        distance = (k[:, None] * frequency - np.array(VOWELS[note.vowel])) / _FORMANT_WIDTH
        amplitude *= 0.05 + (1 / (1 + distance**2)).sum(axis=1)
    amplitude *= note.level / np.linalg.norm(amplitude)
    # The vibrato (5.5 Hz) sets in slowly, as a player's does.
    depth = frequency * (2 ** (timbre.vibrato / 1200) - 1) / 5.5
    phase = 2 * np.pi * frequency * time
    phase += depth * np.minimum(time / 0.3, 1) * np.sin(2 * np.pi * 5.5 * time)
    partials = np.sin(k[:, None].astype(np.float32) * phase.astype(np.float32))
    if timbre.decay:
        rates = (timbre.decay * (1 + 0.25 * (k - 1))).astype(np.float32)
        partials *= np.exp(-rates[:, None] * time)
    envelope = np.minimum(time / timbre.attack, 1) * np.minimum((time[-1] - time) / release, 1)
    tone: NDArray[np.float32] = (amplitude.astype(np.float32)[:, None] * partials).sum(axis=0)
    tone *= envelope
    return tone


def _stroke(low: bool, rng: np.random.Generator) -> NDArray[np.float32]:
    """A drum (a falling tone under a little noise) or a rattle (noise without its lows)."""
    time = np.arange(round(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    noise: NDArray[np.float64] = rng.normal(size=time.size)
    if low:
        sound: NDArray[np.float64] = np.sin(
            2 * np.pi * (55 * time + 3 * (1 - np.exp(-time / 0.03)))
        )
        sound = (sound + 0.1 * noise) * np.exp(-time / 0.07)
    else:
        sound = 0.4 * np.diff(noise, prepend=0.0) * np.exp(-time / 0.025)
    return sound.astype(np.float32)
