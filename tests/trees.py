"""Tiny corpora in the originals' layouts: sines and noise, made in well under a second.

Each function makes one corpus below `data` and returns its section of params.yaml; `grow` makes
all four under the roles that they serve. Every file has other content than every other.
"""

import csv
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SAMPLE_RATE = 16000  # Hz
QUADRANTS = ("Q1", "Q2", "Q3", "Q4")
SIGNS = {"Q1": (1, 1), "Q2": (1, -1), "Q3": (-1, -1), "Q4": (-1, 1)}  # arousal, valence

Section = dict[str, Any]


def tone(name: str, seconds: float = 0.3, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """A sine with a little noise, float32 in [-1, 1]; pitch and noise follow from `name`."""
    seed = zlib.crc32(name.encode())
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return (0.4 * np.sin(2 * np.pi * (110 + seed % 770) * time) + noise).astype(np.float32)


def write_tone(path: Path, seconds: float = 0.3, sample_rate: int = SAMPLE_RATE) -> Path:
    """Write `tone` of the path's name as the file type that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(path.as_posix(), seconds, sample_rate), sample_rate)
    return path


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a corpus's table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([columns, *rows])
    return path


def librispeech(
    data: Path, speakers: int = 4, utterances: int = 3, seconds: float = 0.3
) -> Section:
    """LibriSpeech: FLAC, two subsets."""
    for speaker in range(speakers):
        subset = "test-other" if speaker == speakers - 1 else "train-clean-100"
        person, chapter = 19 + 84 * speaker, 198 + speaker
        for utterance in range(utterances):
            name = f"{person}-{chapter}-{utterance:04}.flac"
            write_tone(data / "LibriSpeech" / subset / str(person) / str(chapter) / name, seconds)
    return {"adapter": "librispeech", "folder": "LibriSpeech", "language": "eng"}


def aishell(data: Path, speakers: int = 4, utterances: int = 3, seconds: float = 0.3) -> Section:
    """AISHELL-1: WAV, three parts."""
    for speaker in range(speakers):
        person = f"S{2 + 9 * speaker:04}"
        folder = data / "data_aishell" / "wav" / ("train", "dev", "test")[speaker % 3] / person
        for utterance in range(utterances):
            write_tone(folder / f"BAC009{person}W{122 + utterance:04}.wav", seconds)
    return {"adapter": "aishell", "folder": "data_aishell", "language": "man"}


def emotion_4q(data: Path, artists: int = 8, songs: int = 3, seconds: float = 0.3) -> Section:
    """4Q-Emotion: MP3 in four folders, annotations, metadata, and ratings by three listeners."""
    root = data / "MER_audio_taffc_dataset"
    names = [
        (f"MT{artist:04}{song:06}", f"Artist {artist}", QUADRANTS[(artist + song) % 4])
        for artist in range(artists)
        for song in range(songs)
    ]
    for name, _, quadrant in names:
        write_tone(root / quadrant / f"{name}.mp3", seconds)
    write_rows(
        root / "panda_dataset_taffc_annotations.csv",
        ("Song", "Quadrant"),
        [(name, quadrant) for name, _, quadrant in names],
    )
    write_rows(
        root / "panda_dataset_taffc_metadata.csv",
        ("Song", "Artist", "Title", "Quadrant"),
        [(name, artist, f"Title, of {name}", quadrant) for name, artist, quadrant in names],
    )
    write_rows(
        root / "panda_dataset_taffc_ratings.csv",
        ("Song", "rater", "arousal", "valence"),
        [
            (name, f"r{rater}", *(sign * (3 + rater) for sign in SIGNS[quadrant]))
            for name, _, quadrant in names
            for rater in range(3)
        ],
    )
    return {"adapter": "emotion_4q", "folder": "MER_audio_taffc_dataset", "language": "eng"}


def ch818(data: Path, artists: int = 8, songs: int = 3, seconds: float = 0.3) -> Section:
    """CH-818: MP3 by number, one table with means, three raters and the artist."""
    root = data / "CH818"
    rows = []
    for i in range(artists * songs):
        arousal, valence = SIGNS[QUADRANTS[(i // songs + i) % 4]]
        raters = [(arousal * (3 + rater), valence * (5 - rater)) for rater in range(3)]
        write_tone(root / "ch818_mp3" / f"{i + 1}.mp3", seconds)
        rows.append(
            (
                f"./{i + 1}.mp3",
                4 * arousal,
                4 * valence,
                f"歌手 {i // songs}",
                *(value for pair in raters for value in pair),
            )
        )
    columns = [f"{name}_{rater}" for rater in (1, 2, 3) for name in ("Arousal", "Valence")]
    write_rows(root / "CH818_AV.csv", ("Songs", "Arousal", "Valence", "Artist", *columns), rows)
    return {"adapter": "ch818", "folder": "CH818", "language": "man"}


def table(data: Path, groups: int = 4, clips: int = 3, seconds: float = 0.3) -> Section:
    """Any CSV: English music with quadrants, and rows in Mandarin that an English role skips."""
    root = data / "my corpus"
    rows = []
    for group in range(groups):
        for clip in range(clips):
            name = f"söngs {group}/歌 {clip}.wav"
            language = "man" if clip == clips - 1 else "eng"
            write_tone(root / name, seconds)
            rows.append((name, f"group {group}", language, QUADRANTS[(group + clip) % 4]))
    write_rows(root / "clips.csv", ("path", "group", "language", "quadrant"), rows)
    return {"adapter": "table", "folder": "my corpus", "language": "eng"}


def esd(
    data: Path, speakers: Sequence[int] = (1, 2, 3, 11, 12, 13), seconds: float = 0.3
) -> Section:
    """ESD: WAV by speaker and emotion, with a Calm that the original lacks; both languages."""
    for speaker in speakers:
        for number, emotion in enumerate(("Happy", "Angry", "Sad", "Calm")):
            folder = data / "ESD" / f"{speaker:04}" / emotion
            inner = folder / "train" if speaker % 2 else folder  # as some copies have it
            write_tone(inner / f"{speaker:04}_{number + 1:06}.wav", seconds)
    return {"adapter": "esd", "folder": "ESD", "language": "eng"}


def ravdess(data: Path, actors: int = 8, seconds: float = 0.3) -> Section:
    """RAVDESS: WAV, speech and song by the same actors; calm, happy, sad and angry."""
    for actor in range(1, actors + 1):
        for channel, folder in (("01", "Audio_Speech"), ("02", "Audio_Song")):
            for emotion in ("02", "03", "04", "05"):
                name = f"03-{channel}-{emotion}-01-01-01-{actor:02}.wav"
                write_tone(data / "RAVDESS" / folder / f"Actor_{actor:02}" / name, seconds)
    return {"adapter": "ravdess", "folder": "RAVDESS", "language": "eng"}


def crema_d(data: Path, actors: int = 4, seconds: float = 0.3) -> Section:
    """CREMA-D: WAV in one folder."""
    for actor in range(1001, 1001 + actors):
        for emotion in ("HAP", "ANG", "SAD"):
            write_tone(data / "CREMA-D/AudioWAV" / f"{actor}_IEO_{emotion}_HI.wav", seconds)
    return {"adapter": "crema_d", "folder": "CREMA-D", "language": "eng"}


def tava(data: Path, speakers: int = 4, seconds: float = 0.3) -> Section:
    """tava: FLAC and a table of ratings and affects."""
    rows = []
    for speaker in range(1, speakers + 1):
        for affect, quadrant in zip(("happy", "angry", "sad", "calm"), QUADRANTS, strict=True):
            arousal, valence = SIGNS[quadrant]
            file = f"s{speaker:02}_{affect}_audio.flac"
            write_tone(data / "tava/audio/recordings" / file, seconds)
            rows.append((file, speaker, affect, 0.4 * valence, 0.3 * arousal))
    columns = ("file", "speaker", "affect", "meanValence", "meanArousal")
    write_rows(data / "tava/labels.csv", columns, rows)
    return {"adapter": "tava", "folder": "tava", "language": "eng"}


TREES: dict[str, Callable[[Path], Section]] = {
    "librispeech": librispeech,
    "aishell": aishell,
    "emotion_4q": emotion_4q,
    "ch818": ch818,
    "table": table,
    "esd": esd,
    "ravdess": ravdess,
    "crema_d": crema_d,
    "tava": tava,
}


def grow(data: Path) -> dict[str, Section]:
    """The four originals below `data`; the section ``datasets`` of params.yaml, by role."""
    return {
        "speech-eng": librispeech(data),
        "speech-man": aishell(data),
        "music-eng": emotion_4q(data),
        "music-man": ch818(data),
    }
