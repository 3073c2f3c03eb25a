"""A composer by rule: an arousal and a valence become notes.

The cues and their directions are those that listeners use: tempo, mode, register, loudness,
articulation, brightness (timbre), density and roughness (Gabrielsson and Lindstroem, "The role of
structure in the musical expression of emotions", 2010; Juslin and Laukka, "Communication of
emotions in vocal expression and music performance", Psychological Bulletin 129, 2003). Each cue is
drawn around its direction with a wide spread, and each artist has habits that pull at it too, so
that no cue gives a quadrant away.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recitative.corpora.base import Language
from recitative.corpora.demo.synthesis import VOWELS, Beat, Note, render

# Standard deviation of a cue around its direction, on the scale of arousal and valence.
SPREAD = {"eng": 0.24, "man": 0.42}

# Western: seven steps; a progression is the scale step of each bar's triad.
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_PROGRESSIONS = {
    _MAJOR: ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (0, 1, 4, 0)),
    _MINOR: ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 3, 6, 0)),
}
# Chinese: five steps; gong and zhi are the brighter modes, yu and shang the darker ones.
_BRIGHT_MODES = ((0, 2, 4, 7, 9), (0, 2, 5, 7, 9))
_DARK_MODES = ((0, 3, 5, 7, 10), (0, 2, 5, 7, 10))

_LEADS = {
    "eng": ("voice", "piano", "strings", "clarinet"),
    "man": ("voice", "erhu", "dizi", "pipa"),
}
_BACKINGS = {
    "eng": ("piano", "guitar", "organ", "strings"),
    "man": ("guzheng", "yangqin", "sheng", "pipa"),
}


@dataclass(frozen=True)
class Style:
    """An artist's habits."""

    lead: str  # a timbre
    backing: str  # a timbre
    tempo: float  # octaves of tempo
    key: int  # semitones above C
    register: float  # semitones
    brightness: float
    loudness: float
    drums: float  # 0 (none) to 1


@dataclass(frozen=True)
class Cues:
    """What the composer decides before the first note."""

    tempo: float  # beats a minute
    bright_mode: bool  # major; gong or zhi
    register: float  # semitones above the middle
    loudness: float  # 0 (soft, dynamic) to 1 (loud, compressed)
    articulation: float  # share of its slot for which a note sounds: 0.25 (staccato) to 1 (legato)
    brightness: float  # taken off the spectral slope
    density: float  # probability of dividing a beat
    roughness: float  # probability of a clashing neighbour tone


def draw_style(language: Language, rng: np.random.Generator) -> Style:
    """Draw an artist."""
    return Style(
        lead=str(rng.choice(_LEADS[language])),
        backing=str(rng.choice(_BACKINGS[language])),
        tempo=rng.normal(0, 0.12),
        key=int(rng.integers(-5, 7)),
        register=rng.normal(0, 1.5),
        brightness=rng.normal(0, 0.12),
        loudness=rng.normal(0, 0.4),
        drums=rng.uniform(0, 1),
    )


def draw_cues(
    arousal: float, valence: float, style: Style, spread: float, rng: np.random.Generator
) -> Cues:
    """Draw the cues of a piece of this arousal and valence, each in [-1, 1].

    `spread` is the standard deviation of every cue, on the same scale.
    """

    def lean(on_arousal: float, on_valence: float) -> float:
        return on_arousal * arousal + on_valence * valence + rng.normal(0, spread)

    return Cues(
        tempo=float(np.clip(95 * 2 ** (0.5 * lean(0.6, 0.2) + style.tempo), 50, 185)),
        bright_mode=bool(rng.random() < _share(4 * lean(0, 1))),
        register=float(np.clip(5 * lean(0.15, 0.8) + style.register, -10, 10)),
        loudness=_share(2 * lean(0.5, -0.1) + style.loudness),
        articulation=float(np.clip(0.7 - 0.3 * lean(0.5, 0.3), 0.25, 1)),
        brightness=float(np.clip(0.4 * lean(0.5, 0.35) + style.brightness, -0.6, 0.6)),
        density=_share(2 * lean(0.5, 0.2) - 0.4),
        roughness=_share(3 * lean(0.3, -0.9) - 1.5),
    )


def play(
    language: Language, arousal: float, valence: float, style: Style, seconds: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:  # fmt: skip
    """Compose and render a piece: mono samples at 22.05 kHz, of peak 0.55.

    Arousal and valence are in [-1, 1]; `eng` is Western and diatonic, `man` Chinese and pentatonic.
    """
    cues = draw_cues(arousal, valence, style, SPREAD[language], rng)
    notes, beats = compose(language, cues, style, seconds, rng)
    drive = 0.6 * 10**cues.loudness
    return render(notes, beats, seconds, cues.brightness, drive, rng)


def compose(
    language: Language, cues: Cues, style: Style, seconds: float, rng: np.random.Generator
) -> tuple[list[Note], list[Beat]]:
    """Write a melody over a bass and chords, and its percussion.

    Without roughness every pitch is a step of the piece's scale: seven to the octave for `eng`,
    five for `man`.
    """
    scale: tuple[int, ...]
    if language == "eng":
        scale = _MAJOR if cues.bright_mode else _MINOR
        progressions = _PROGRESSIONS[scale]
        progression = progressions[int(rng.integers(len(progressions)))]
        triad = (0, 2, 4)
    else:
        modes = _BRIGHT_MODES if cues.bright_mode else _DARK_MODES
        scale = modes[int(rng.integers(len(modes)))]
        progression = (0, 0, 3, 0)  # a drone that changes rarely
        triad = (0, 3, 5)  # root, fifth (in most modes), octave
    tonic = 60 + style.key + cues.register
    beat = 60 / cues.tempo
    notes: list[Note] = []
    beats: list[Beat] = []
    step = 0
    for index in range(int(np.ceil(seconds / beat))):
        onset = index * beat
        root = progression[index // 4 % len(progression)]
        chord = [tonic + _pitch(scale, root + degree) for degree in triad]
        notes += _accompany(chord, index % 4, onset, beat, cues, style, rng)
        slots = int(1 + (rng.random() < cues.density) + 2 * (rng.random() < cues.density**2 / 2))
        for slot in range(slots):
            if rng.random() < 0.15:
                continue  # a rest
            strong = slot == 0 and index % 2 == 0
            step = root + int(rng.choice(triad)) if strong else step + int(rng.integers(-2, 3))
            step = int(np.clip(step, -len(scale) // 2, len(scale) + 3))
            notes.append(
                Note(
                    onset=onset + slot * beat / slots,
                    seconds=beat / slots * cues.articulation,
                    pitch=tonic + 12 + _pitch(scale, step) + _clash(cues, rng),
                    level=1 + (0.3 - 0.3 * cues.loudness) * rng.normal(),
                    timbre=style.lead,
                    vowel=int(rng.integers(len(VOWELS))),
                )
            )
        beats += _drum(index, onset, beat, cues, style, rng)
    return notes, beats


def _share(value: float) -> float:
    """The logistic function: any number to (0, 1)."""
    return float(1 / (1 + np.exp(-value)))


def _pitch(scale: tuple[int, ...], step: int) -> int:
    """Semitones of a scale step above the tonic; steps run on through the octaves."""
    octave, degree = divmod(step, len(scale))
    return 12 * octave + scale[degree]


def _clash(cues: Cues, rng: np.random.Generator) -> int:
    return int(rng.choice((-1, 1))) if rng.random() < cues.roughness / 3 else 0


def _accompany(
    chord: list[float], position: int, onset: float, beat: float, cues: Cues, style: Style,
    rng: np.random.Generator,
) -> list[Note]:  # fmt: skip
    """The bass on the first and third beat; the chord broken where dense, else held."""
    notes = []
    if position % 2 == 0:
        notes.append(Note(onset, 1.8 * beat * cues.articulation, chord[0] - 24, 0.7, style.backing))
    if rng.random() < cues.density:
        held = beat / 2 * cues.articulation
        for half in (0, 1):
            tone = chord[(2 * position + half) % len(chord)]
            notes.append(Note(onset + half * beat / 2, held, tone, 0.5, style.backing))
    elif position % 2 == 0:
        held = 2 * beat * cues.articulation
        notes += [Note(onset, held, tone, 0.35, style.backing) for tone in chord]
    if rng.random() < cues.roughness:
        notes.append(Note(onset, beat * cues.articulation, chord[0] + 1, 0.35, style.backing))
    return notes


def _drum(
    index: int, onset: float, beat: float, cues: Cues, style: Style, rng: np.random.Generator
) -> list[Beat]:
    level = style.drums * cues.loudness
    if rng.random() > level:
        return []
    strokes = [Beat(onset, 1.6 * level, low=index % 2 == 0)]
    if rng.random() < cues.density:
        strokes.append(Beat(onset + beat / 2, level, low=False))
    return strokes
