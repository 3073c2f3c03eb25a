"""What every corpus adapter yields, and the registry of adapters.

An adapter is one module in this folder with one function under `@register_dataset`. It reads names
and tables, never audio, and yields clips in a stable order.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recitative.config import Section
from recitative.errors import UserError

Language = Literal["eng", "man"]
MUSIC_ROLES = ("music-eng", "music-man")
SPEECH_ROLES = ("speech-eng", "speech-man")
EMOTION_ROLES = ("emotion-eng", "emotion-man")  # emotional speech; both are optional
SOURCE_ROLES = (*SPEECH_ROLES, *MUSIC_ROLES, *EMOTION_ROLES)  # read from disk; a mix is drawn
MIXES = {"speech-mix": SPEECH_ROLES, "emotion-mix": EMOTION_ROLES}
ROLES = (*SOURCE_ROLES, *MIXES)


def sources_of(role: str) -> tuple[str, ...]:
    """The roles that a role's clips are indexed under: itself, or those that a mix is drawn from."""
    return MIXES.get(role, (role,))


class MissingDataError(UserError):
    """A corpus, or a part of it, is not where it should be."""


@dataclass(frozen=True)
class Rating:
    """One listener's answer for one clip, on the corpus's own scale (CH-818: [-10, 10])."""

    rater: str
    arousal: float
    valence: float


@dataclass(frozen=True)
class Clip:
    """One audio file and what its corpus says of it."""

    id: str  # unique within its role, e.g. "librispeech/19-198-0000"
    path: Path
    group: str  # speaker, or artist; no group may stand in two parts of a split
    language: Language
    quadrant: str | None = None  # one of QUADRANTS; None for speech
    emotion: str | None = None  # category in small letters; the table `emotions` gives the quadrant
    arousal: float | None = None  # on the corpus's own scale; None where it has none
    valence: float | None = None
    ratings: tuple[Rating, ...] = ()


@dataclass(frozen=True)
class IndexedClip:
    """One usable clip: a row of ``build/index/<role>.csv``."""

    id: str
    path: str  # relative to data/, with forward slashes
    seconds: float  # by the header
    group: str
    language: Language
    quadrant: str | None
    arousal: float | None  # on the corpus's own scale
    valence: float | None
    sample_rate: int  # Hz
    channels: int
    digest: str  # BLAKE2b-128 of the file's bytes, hex


@dataclass(frozen=True)
class Problem:
    """Something in a corpus that the user should know of: a row without audio, a tie, a bad file."""

    path: str
    reason: str
    kept: bool = False  # whether the clip is used all the same


class DatasetConfig(Section):
    """What every adapter's section in params.yaml has. Adapters add their own fields."""

    adapter: str
    folder: str  # below data/
    language: Language


ClipIterator = Callable[[Path, Any], Iterator[Clip | Problem]]


@dataclass(frozen=True)
class Dataset:
    """A registered adapter: its name, its parameter section, and its iterator over a corpus."""

    name: str
    config: type[DatasetConfig]
    iter_clips: ClipIterator


_REGISTRY: dict[str, Dataset] = {}


def register_dataset(
    name: str, config: type[DatasetConfig]
) -> Callable[[ClipIterator], ClipIterator]:
    """Register ``iter_clips(root, config)`` as the adapter `name`.

    `root` is the corpus's own folder. The iterator raises MissingDataError where the expected
    layout is not there, naming that layout and the command that mends it.
    """

    def register(iter_clips: ClipIterator) -> ClipIterator:
        _REGISTRY[name] = Dataset(name, config, iter_clips)
        return iter_clips

    return register


def datasets() -> dict[str, Dataset]:
    """Every adapter by name. The registry is this folder: a new module is found by itself."""
    import recitative.corpora as package

    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:
            importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def dataset_config(role: str, values: dict[str, Any]) -> type[DatasetConfig]:
    """The type of the section ``datasets.<role>``: its adapter's.

    Raises:
        UserError: the adapter's name is unknown; the known ones are listed.
    """
    known = datasets()
    name = str(values.get("adapter"))
    if name not in known:
        raise UserError(
            f"params.yaml: datasets.{role}.adapter: unknown adapter {name!r}; known: {', '.join(known)}"
        )
    return known[name].config


def parse_dataset_config(role: str, values: dict[str, Any]) -> DatasetConfig:
    """The section ``datasets.<role>`` as its adapter's own type; as `dataset_config` on errors."""
    return dataset_config(role, values).model_validate(values)
