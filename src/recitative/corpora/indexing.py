"""The index: every usable clip of a role with its measured length and the hash of its content.

What an adapter yields from names and tables meets the files here: headers are read, contents are
hashed, and a file whose header `recitative.audio` refuses becomes a problem. Nothing is decoded; what
only decoding can show (silence, NaN, a damaged part) is found by `featurize` and by `audit_data`.
"""

import hashlib
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import joblib
from tqdm import tqdm

from recitative.audio import AudioError, read_header
from recitative.corpora.base import (
    MUSIC_ROLES,
    Clip,
    DatasetConfig,
    IndexedClip,
    Problem,
    datasets,
)
from recitative.errors import UserError
from recitative.files import stream_csv, write_csv


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


def index_role(role: str, config: DatasetConfig, data: Path, workers: int) -> RoleIndex:
    """Read a role's corpus with its adapter, and its files' headers and contents.

    Args:
        role: one of SOURCE_ROLES.
        config: the section ``datasets.<role>``.
        data: the folder that holds the corpora.
        workers: how many files are read side by side.

    Raises:
        MissingDataError: the corpus is not there.
        UserError: the section's language is not the role's, two clips have one id, a table is
            wrong, or no clip can be used.
    """
    if not role.endswith(config.language):
        raise UserError(
            f"params.yaml: datasets.{role}.language: {config.language!r}; "
            f"this role takes {role.rpartition('-')[2]!r}"
        )
    found: dict[str, Clip] = {}
    problems: list[Problem] = []
    adapter = datasets()[config.adapter]
    for item in adapter.iter_clips(data / config.folder, config):
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
    progress = tqdm(read, f"index {role}", len(found), unit="file", disable=None)
    clips: list[IndexedClip] = []
    for result in progress:
        if isinstance(result, Problem):
            problems.append(result)
        else:
            clips.append(result)
    if not clips:
        first = f"; the first: {problems[0].path}: {problems[0].reason}" if problems else ""
        raise UserError(
            f"{data / config.folder}: no clip can be used for {role}, "
            f"{len(problems)} problems{first}"
        )
    return RoleIndex(
        role,
        clips,
        [replace(problem, path=_written_path(Path(problem.path), data)) for problem in problems],
        [
            IndexedRating(clip.id, rating.rater, rating.arousal, rating.valence)
            for clip in clips
            for rating in found[clip.id].ratings
        ],
    )


def write_index(index: RoleIndex, folder: Path) -> None:
    """Write ``<role>.csv``, ``<role>.problems.csv`` and, if any, ``<role>.ratings.csv``."""
    write_csv(folder / f"{index.role}.csv", _columns(IndexedClip), map(asdict, index.clips))
    write_csv(
        folder / f"{index.role}.problems.csv",
        ("path", "reason", "kept"),
        map(asdict, index.problems),
    )
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
    return [
        IndexedClip(
            id=row["id"],
            path=row["path"],
            seconds=float(row["seconds"]),
            group=row["group"],
            language="eng" if row["language"] == "eng" else "man",
            quadrant=row["quadrant"] or None,
            arousal=float(row["arousal"]) if row["arousal"] else None,
            valence=float(row["valence"]) if row["valence"] else None,
            sample_rate=int(row["sample_rate"]),
            channels=int(row["channels"]),
            digest=row["digest"],
        )
        for row in stream_csv(table)
    ]


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
        with clip.path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16))
    except UnicodeEncodeError:
        return Problem(path, "the file's name is not UTF-8; rename it")
    except AudioError as error:
        return Problem(path, error.reason)
    except OSError as error:
        return Problem(path, f"unreadable: {error.strerror}")
    return IndexedClip(
        id=clip.id,
        path=_written_path(clip.path, data),
        seconds=header.frames / header.sample_rate,
        group=clip.group,
        language=clip.language,
        quadrant=clip.quadrant,
        arousal=clip.arousal,
        valence=clip.valence,
        sample_rate=header.sample_rate,
        channels=header.channels,
        digest=digest.hexdigest(),
    )
