"""Where things lie: build/ for what stages write, .recitative/ for what survives a kill.

DVC deletes a stage's outputs before it runs the stage, so what a killed stage needs to go on lies
outside of them: in the original repository's .recitative/, keyed by the content that it depends on.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from filelock import FileLock, Timeout

from recitative.corpora.indexing import IndexedClip, read_index
from recitative.learning.config import ComputeConfig
from recitative.params import Params
from recitative.tracking.store import project_root

if TYPE_CHECKING:
    from recitative.models.storage import Description

DATA = Path("data")
BUILD = Path("build")
CORPUS = BUILD / "corpus"
INDEX = BUILD / "index"
SPLITS = BUILD / "splits"
FEATURES = BUILD / "features"
SEARCH = BUILD / "search"
PRETRAIN = BUILD / "pretrain"
TRANSFER = BUILD / "transfer"
CONTROLS = BUILD / "controls"
EVALUATE = BUILD / "evaluate"
AGREEMENT = BUILD / "agreement"
REGISTRY = BUILD / "registry"
CLAIMS = BUILD / "claims"
FAULTS = BUILD / "faults"  # of `recitative faults`, no stage: there or not
REPORT = BUILD / "report"

RESULT = "result"  # below a work folder: what its stage will write
_PUBLISHED = "published"  # says which workspace has the result
_KEPT = 7 * 24 * 3600.0  # s


def content_key(*parts: Any) -> str:
    """A short hash of JSON-able values and of files' contents (given as Path)."""
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        text = file_digest(part) if isinstance(part, Path) else json.dumps(part, sort_keys=True)
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def working(stage: str, key: str) -> Iterator[Path]:
    """The folder for checkpoints and finished parts of the work that `key` names.

    It stays where the stage is killed or fails. Where it ends well, its `RESULT` stays until the next
    stage of the same workspace ends: DVC puts an output into its cache after the stage, and a kill
    in between must not cost a training. Two processes with the same work (experiments that differ
    in something else) come one after the other.
    """
    folder, lock = _work(stage, key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        click.echo(f"{stage}: another process is at the same work; waiting for it")
        lock.acquire()
    try:
        folder.mkdir(exist_ok=True)
        yield folder
        _clear_published(folder)
        for path in folder.iterdir():
            if path.name != RESULT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / _PUBLISHED).write_text(str(Path.cwd()), encoding="utf-8")
    finally:
        lock.release()


def _clear_published(mine: Path) -> None:
    """Remove what DVC has in its cache by now, and what a workspace that is gone left long ago."""
    for marker in mine.parent.glob(f"*/{_PUBLISHED}"):
        folder = marker.parent
        if folder == mine:
            continue
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        with suppress(Timeout), lock.acquire(timeout=0):  # who holds it will clear it another time
            if not marker.exists():
                continue
            here = marker.read_text(encoding="utf-8") == str(Path.cwd())
            if here or time.time() - marker.stat().st_mtime > _KEPT:
                shutil.rmtree(folder)


@contextmanager
def working_ahead(stage: str, key: str) -> Iterator[Path | None]:
    """The same folder for a process that does another stage's work ahead of it.

    It stays, for that stage to find. None where another process is at the same work.
    """
    folder, lock = _work(stage, key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield None
        return
    try:
        folder.mkdir(exist_ok=True)
        yield folder
    finally:
        lock.release()


def _work(stage: str, key: str) -> tuple[Path, FileLock]:
    folder = project_root() / ".recitative" / "work" / f"{stage}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder, FileLock(folder.with_name(f"{folder.name}.lock"))


def feature_cache() -> Path:
    """Log-mel frames by the content of their audio file."""
    return project_root() / ".recitative" / "features"


def workers(compute: ComputeConfig) -> int:
    """How many processes run side by side."""
    return compute.workers or os.cpu_count() or 1


def role_clips(role: str) -> list[IndexedClip]:
    """The indexed clips of a role; of the mixed speech, those of both languages."""
    if role == "speech-mix":
        return read_index(INDEX, "speech-eng") + read_index(INDEX, "speech-man")
    return read_index(INDEX, role)


def pretrained_description(params: Params) -> "Description":
    """What rebuilds a pretraining model of the present architecture."""
    from recitative.models.storage import describe  # imports torch

    features = params.features
    return describe(
        params.pretrain.arch, params.encoder, params.arch, features.n_mels, features.segment_frames
    )


def classifier_description(params: Params, pretrained: "Description") -> "Description":
    """What rebuilds a classifier on top of the described encoder.

    Its dropout is that of the parameters, not one that a search found for pretraining: a cell and
    its control without pretraining must differ in nothing else.
    """
    return pretrained | {
        "encoder": pretrained["encoder"] | {"dropout": params.encoder.dropout},
        "head": params.transfer.head,
        "classifier": params.transfer.classifier.model_dump(mode="json"),
    }
