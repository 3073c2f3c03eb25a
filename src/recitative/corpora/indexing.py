"""The index: every usable clip of a role with its measured length and the hash of its content.

What an adapter yields from names and tables meets the files here: headers are read, contents are
hashed, and a file whose header `recitative.audio` refuses becomes a problem. Nothing is decoded; what
only decoding can show (silence, NaN, a damaged part) is found by `featurize` and by `audit_data`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import joblib
from tqdm import tqdm

from recitative.audio import AudioError, read_header
from recitative.corpora.base import (
    EMOTION_ROLES,
    MUSIC_ROLES,
    SOURCE_ROLES,
    Clip,
    DatasetConfig,
    IndexedClip,
    Problem,
    datasets,
)
from recitative.corpora.emotions import with_quadrants
from recitative.errors import UserError
from recitative.files import blake2b, stream_csv, write_csv


@dataclass(frozen=True)
class IndexedRating:
    """One listener's answer for one clip: a row of ``build/index/<role>.ratings.csv``."""

    id: str
    rater: str
    arousal: float
    valence: float


@dataclass(frozen=True)
class RoleIndex:
    """All that is known of one role's corpus before its audio is decoded."""

    role: str
    clips: list[IndexedClip]
    problems: list[Problem]  # paths relative to data/ where they lie below it
    ratings: list[IndexedRating]


def index_role(
    role: str,
    config: DatasetConfig,
    data: Path,
    workers: int,
    emotions: Mapping[str, str] = MappingProxyType({}),
) -> RoleIndex:
    """Read a role's corpus with its adapter, and its files' headers and contents.

    `data` is the folder that holds the corpora; `workers` files are read side by side; `emotions`
    gives the quadrant of each category, or `none`.

    Raises:
        MissingDataError: the corpus is not there.
        UserError: the section's language is not the role's, two clips have one id, a table is
            wrong, a category is not in `emotions`, or no clip can be used.
    """
    if not role.endswith(config.language):
        raise UserError(
            f"params.yaml: datasets.{role}.language: {config.language!r}; "
            f"this role takes {role.rpartition('-')[2]!r}"
        )
    found: dict[str, Clip] = {}
    problems: list[Problem] = []
    adapter = datasets()[config.adapter]
    for item in with_quadrants(adapter.iter_clips(data / config.folder, config), role, emotions):
        if isinstance(item, Problem):
            problems.append(item)
        elif item.id in found:
            raise UserError(
                f"{item.path} and {found[item.id].path}: both are clip {item.id!r}; "
                "rename or remove one of them"
            )
        elif role in MUSIC_ROLES and item.quadrant is None:
            problems.append(Problem(str(item.path), "no quadrant, and no arousal and valence"))
        else:
            found[item.id] = item

    read = joblib.Parallel(n_jobs=workers, prefer="threads", return_as="generator")(
        joblib.delayed(_read_file)(clip, data) for clip in found.values()
    )
    results = list(tqdm(read, f"index {role}", len(found), unit="file", disable=None))
    clips = [one for one in results if isinstance(one, IndexedClip)]
    problems += [one for one in results if isinstance(one, Problem)]
    if not clips:
        first = f"; the first: {problems[0].path}: {problems[0].reason}" if problems else ""
        what = f"no clip can be used for {role}, {len(problems)} problems"
        raise UserError(f"{data / config.folder}: {what}{first}")
    ratings = [
        IndexedRating(clip.id, rating.rater, rating.arousal, rating.valence)
        for clip in clips
        for rating in found[clip.id].ratings
    ]
    paths = [_written_path(Path(problem.path), data) for problem in problems]
    written = [replace(one, path=path) for one, path in zip(problems, paths, strict=True)]
    return RoleIndex(role, clips, written, ratings)


def write_index(index: RoleIndex, folder: Path) -> None:
    """Write ``<role>.csv``, ``<role>.problems.csv`` and, if any, ``<role>.ratings.csv``."""
    write_csv(folder / f"{index.role}.csv", _columns(IndexedClip), map(asdict, index.clips))
    problems = folder / f"{index.role}.problems.csv"
    write_csv(problems, ("path", "reason", "kept"), map(asdict, index.problems))
    ratings = folder / f"{index.role}.ratings.csv"
    ratings.unlink(missing_ok=True)
    if index.ratings:
        write_csv(ratings, _columns(IndexedRating), map(asdict, index.ratings))


def read_index(folder: Path, role: str) -> list[IndexedClip]:
    """Read ``<role>.csv`` back, equal to what was written.

    Raises:
        UserError: the role has no index yet.
    """
    table = folder / f"{role}.csv"
    if not table.is_file():
        raise UserError(f"{table}: {role} has no index yet; run `recitative index`")
    kinds: dict[str, Callable[[str], Any]] = dict.fromkeys(_columns(IndexedClip), str)
    kinds |= {"seconds": float, "sample_rate": int, "channels": int}
    kinds |= {name: lambda text: float(text) if text else None for name in ("arousal", "valence")}
    kinds["quadrant"] = lambda text: text or None
    return [
        IndexedClip(**{name: kind(row[name]) for name, kind in kinds.items()})
        for row in stream_csv(table)
    ]


def is_left_out(role: str, config: DatasetConfig, data: Path) -> bool:
    """Whether an optional role is configured, as the project's own params.yaml does, but not there."""
    return role in EMOTION_ROLES and not (data / config.folder).exists()


def indexed_roles(folder: Path) -> tuple[str, ...]:
    """The roles that an index has, or must have: all but optional ones that are not configured."""
    return tuple(
        role
        for role in SOURCE_ROLES
        if role not in EMOTION_ROLES or (folder / f"{role}.csv").is_file()
    )


def _columns(row: type[IndexedClip] | type[IndexedRating]) -> list[str]:
    return [field.name for field in fields(row)]


def _written_path(path: Path, data: Path) -> str:
    """`path` as the index writes it: relative to `data`, so that the index can be shared.

    Folders are resolved where the way leads out of `data`, since ``..`` behind a link is not where
    it seems; the file itself is not, since it may be a link into a cache. Bytes that are no UTF-8
    are shown as replacement characters.
    """
    if path.is_relative_to(data) and ".." not in path.parts:
        written = path.relative_to(data)
    else:
        written = Path(os.path.relpath(path.parent.resolve(), data.resolve()), path.name)
    return os.fsencode(written.as_posix()).decode("utf-8", errors="replace")


def _read_file(clip: Clip, data: Path) -> IndexedClip | Problem:
    """A clip's row, or what keeps it from being one."""
    path = str(clip.path)
    try:
        path.encode()
        header = read_header(clip.path)
        digest = blake2b(clip.path)
    except UnicodeEncodeError:
        return Problem(path, "the file's name is not UTF-8; rename it")
    except AudioError as error:
        return Problem(path, error.reason)
    except OSError as error:
        return Problem(path, f"unreadable: {error.strerror}")
    seconds = header.frames / header.sample_rate
    return IndexedClip(
        clip.id, _written_path(clip.path, data), seconds, clip.group, clip.language, clip.quadrant,
        clip.arousal, clip.valence, header.sample_rate, header.channels, digest,
    )  # fmt: skip
