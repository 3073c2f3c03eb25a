"""The project's own songs: what may be played, and what their listeners said."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.agreement.consensus import sign_codes
from recitative.corpora.base import MUSIC_ROLES
from recitative.corpora.indexing import read_index
from recitative.files import stream_csv
from recitative.vocabulary import LANGUAGES


@dataclass(frozen=True)
class Listeners:
    """The ratings of one song as shares: what a model's probabilities are compared with."""

    count: int
    arousal: float  # share of those who took a side that rated it positive, 0..1
    valence: float


@dataclass(frozen=True)
class Song:
    """One song of the index."""

    id: str
    language: str
    group: str  # its artist
    seconds: float
    quadrant: str | None  # of its label
    listeners: Listeners | None


def list_songs(index: Path, data: Path, midpoint: float) -> dict[str, tuple[Song, Path]]:
    """Every song of the index by its id, with its file; none where there is no index.

    A rating above `midpoint` is positive; one on it takes no side.
    """
    songs = {}
    for role in MUSIC_ROLES:
        if not (index / f"{role}.csv").is_file():
            continue
        listeners = _listeners(index / f"{role}.ratings.csv", midpoint)
        for clip in read_index(index, role):
            name = f"{role}/{clip.id}"
            song = Song(
                name, LANGUAGES[clip.language], clip.group, round(clip.seconds, 1), clip.quadrant,
                listeners.get(clip.id),
            )  # fmt: skip
            songs[name] = song, data / clip.path
    return songs


def _listeners(path: Path, midpoint: float) -> dict[str, Listeners]:
    ratings = defaultdict(list)
    for row in stream_csv(path) if path.is_file() else ():
        ratings[row["id"]].append((float(row["arousal"]), float(row["valence"])))
    found = {}
    for clip, values in ratings.items():
        sides = sign_codes(np.array(values), midpoint)
        taken = (sides >= 0).sum(0)
        if taken.all():
            arousal, valence = (np.clip(sides, 0, None).sum(0) / taken).round(4).tolist()
            found[clip] = Listeners(len(values), arousal, valence)
    return found
