"""Whose result is this? One key for a stage's work, its folder, and how its result is published.

The key is the digest of exactly what `dvc.yaml` lists for the stage: its command, the contents of
its dependencies (the code among them) and the values of its parameters. So what a killed stage left
is used again only where DVC itself would call the result the same.

DVC deletes a stage's outputs before it runs the stage. So what a killed stage needs to go on lies in
`.recitative/work/<stage>-<key>/` of the original repository: checkpoints, finished repeats, ids of
MLflow runs, and `result/`, which becomes the stage's output.

DVC runs one stage at a time. So that no core waits, the first stage of a matrix makes its own result
and those of the others that are out of date; a stage that finds its result only publishes it
(`compute.ahead`).
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import click
import yaml
from filelock import FileLock, Timeout

import recitative
from recitative.errors import UserError
from recitative.experiment.places import BUILD, work_folder
from recitative.files import atomic_folder, read_json, write_json
from recitative.params import Params, flatten

PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")
CODE = "src/recitative"  # as dvc.yaml names it; here, the package that runs
RESULT = "result"  # below a work folder: what its stage will write
_ABOUT = "about.json"  # what the key is made of, and for which workspace it was made last
_PUBLISHED = "published"
_LARGE = 2**28  # bytes of a folder, above which DVC's own hash is taken
_KEPT = 7 * 24 * 3600.0  # s


def stage_key(params: Params, command: str) -> str:
    """The key of the work of a stage, named by its command, e.g. ``transfer eng2man``.

    Raises:
        UserError: there is no dvc.yaml here, or no such stage in it.
    """
    return digest(what_counts(params, command))


def digest(listed: Any) -> str:
    """A short hash of JSON-able values."""
    return hashlib.blake2b(json.dumps(listed, sort_keys=True).encode(), digest_size=12).hexdigest()


def what_counts(params: Params, command: str) -> dict[str, Any]:
    """What `dvc.yaml` lists for a stage: `cmd`, `deps` (path: hash) and `params` (name: value)."""
    values = flatten(params.model_dump(mode="json"))
    stage, item = _find(command, values)
    listed = stage.get("params", ())
    names = [n for entry in listed for n in values if n == entry or n.startswith(f"{entry}.")]
    deps = [_filled(dep, values, item) for dep in stage.get("deps", ())]
    return {
        "cmd": f"recitative {command}",
        "deps": {path: _known_to_dvc(path) or content_hash(_here(path)) for path in deps},
        "params": {name: values[name] for name in sorted(names)},
    }


def _find(command: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The stage of dvc.yaml that runs a command, and the values of its matrix."""
    if not PIPELINE.is_file():
        raise UserError(f"{PIPELINE}: no such file; run in the project's own folder")
    for stage in yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"].values():
        matrix = stage.get("matrix", {})
        for chosen in product(*matrix.values()):
            item = dict(zip(matrix, chosen, strict=True))
            if _filled(stage["cmd"], values, item) == f"recitative {command}":
                return stage, item
    raise UserError(
        f"{PIPELINE}: no stage runs `recitative {command}`; take the project's own file"
    )


def _filled(text: str, values: Mapping[str, Any], item: Mapping[str, str]) -> str:
    """A text with DVC's templates filled: ``${item.…}``, or the value of a parameter."""
    known = {**values, **{f"item.{name}": value for name, value in item.items()}}
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(known[match[1]]), text)


def _here(path: str) -> Path:
    """A dependency's place: code is that of the package that runs, wherever it lies."""
    if path == CODE or path.startswith(f"{CODE}/"):
        return Path(recitative.__file__).parent / path[len(CODE) + 1 :]
    return Path(path)


def _known_to_dvc(path: str) -> str | None:
    """The hash of a large folder that DVC made when it stored it, so that nobody reads it again.

    Only where DVC runs the stage, which has looked at its dependencies, and where nothing in the
    folder is newer than what DVC wrote down.
    """
    if "DVC_STAGE" not in os.environ or not Path(path).is_dir():
        return None
    found = [file.stat() for file in Path(path).rglob("*") if file.is_file()]
    size, newest = (
        sum(one.st_size for one in found),
        max((one.st_mtime for one in found), default=0),
    )
    if size < _LARGE:
        return None
    wanted = {"path": path, "size": size, "nfiles": len(found)}
    for file in (LOCK, *Path().glob("*.dvc")):
        if file.is_file() and newest <= file.stat().st_mtime:
            for out in _outputs(file, file.stat().st_mtime_ns):
                if wanted.items() <= out.items():
                    return str(out["md5"])
    return None


@lru_cache(maxsize=8)
def _outputs(path: Path, changed: int) -> list[dict[str, Any]]:
    """The outputs that a file of DVC's lists; read once for each time that it was `changed`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(path.read_text(encoding="utf-8"), loader) or {}
    stages = content["stages"].values() if "stages" in content else [content]
    return [out for stage in stages for out in stage.get("outs", ())]


def content_hash(path: Path) -> str:
    """Hash of a file, or of a folder's files and their names, as DVC makes it; `absent` for neither."""
    if path.is_file():
        found = path.stat()
        return _md5(path, found.st_ino, found.st_size, found.st_mtime_ns)
    if not path.is_dir():
        return "absent"
    entries = [
        {"md5": content_hash(file), "relpath": file.relative_to(path).as_posix()}
        for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"


@lru_cache(maxsize=65536)
def _md5(path: Path, *identity: int) -> str:
    """Of a file that has not changed since: `identity` is its inode, size and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@dataclass(frozen=True)
class Work:
    """A stage's work: the command that asks for it, its key, and its folder."""

    command: str
    key: str
    folder: Path


@contextmanager
def working(params: Params, command: str, wait: bool = True) -> Iterator[Work | None]:
    """The work folder of a stage (``transfer eng2man``), locked.

    It stays where the stage is killed or fails. Two processes with the same work (experiments that
    differ in something else) come one after the other; without `wait` the second one is given None.
    """
    about = what_counts(params, command)
    key = digest(about)
    folder = work_folder() / f"{command.replace(' ', '-')}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            yield None
            return
        click.echo(f"{command}: another process is at the same work; waiting for it")
        lock.acquire()
    try:
        folder.mkdir(exist_ok=True)
        write_json(folder / _ABOUT, {"workspace": str(Path.cwd()), **about})
        yield Work(command, key, folder)
    finally:
        lock.release()


def publish_stage(
    params: Params, stage: str, item: str, others: Iterable[str],
    make: Callable[[dict[str, Work]], None],
) -> Path:  # fmt: skip
    """Write the output of one item of a stage's matrix, ``build/<stage>/<item>/``; give its folder.

    With `compute.ahead` those of the `others`, which other stages will ask for, that are out of date
    are made as well; those that another process is at are left to it. `make` writes `RESULT` below
    the work folder of each item; its run.json must hold the key.
    """
    out = BUILD / stage / item
    with working(params, f"{stage} {item}") as mine:
        assert mine is not None  # it waited
        if not (mine.folder / RESULT).exists():
            with ExitStack() as stack:
                make({item: mine} | _out_of_date(params, stage, others, stack))
        with atomic_folder(out) as folder:
            shutil.copytree(mine.folder / RESULT, folder, dirs_exist_ok=True)
        # DVC puts an output into its cache after the stage, and a kill in between must not cost a
        # training: the result stays until the next stage of this workspace ends. No stage begins
        # before DVC has the one before.
        remove_works(lambda work: work.published and work.is_of_this_workspace)
        (mine.folder / _PUBLISHED).touch()
        for path in mine.folder.iterdir():
            if path.name not in (RESULT, _ABOUT, _PUBLISHED):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    remove_works(lambda work: work.age > _KEPT)
    return out


def _out_of_date(
    params: Params, stage: str, items: Iterable[str], stack: ExitStack
) -> dict[str, Work]:
    """Those that are out of date and that nobody is at, with their folders, which stay locked."""
    found: dict[str, Work] = {}
    for item in items if params.compute.ahead else ():
        command = f"{stage} {item}"
        if _up_to_date(command, stage_key(params, command)):
            continue
        work = stack.enter_context(working(params, command, wait=False))
        if work and not (work.folder / RESULT).exists():
            found[item] = work
    return found


def _up_to_date(command: str, key: str) -> bool:
    """Whether a stage's output is the one of this key."""
    run_json = BUILD.joinpath(*command.split()) / "run.json"
    return run_json.exists() and read_json(run_json).get("key") == key


@dataclass(frozen=True)
class Left:
    """A work folder that a stage left behind."""

    folder: Path

    @property
    def published(self) -> bool:
        """Whether its stage has written its output."""
        return (self.folder / _PUBLISHED).exists()

    @property
    def about(self) -> dict[str, Any]:
        """What its key is made of, and its workspace; nothing where a process died in between."""
        about = self.folder / _ABOUT
        return dict(read_json(about)) if about.exists() else {}

    @property
    def command(self) -> str:
        """The stage's, e.g. ``transfer eng2man``."""
        return str(self.about.get("cmd", "")).removeprefix("recitative ")

    @property
    def is_of_this_workspace(self) -> bool:
        """Whether it was made for the folder in which this process works."""
        return self.about.get("workspace") == str(Path.cwd())

    @property
    def age(self) -> float:
        """Seconds since anything was written into it."""
        written = [path.stat().st_mtime for path in (self.folder, *self.folder.iterdir())]
        return time.time() - max(written)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def works() -> list[Left]:
    """Every work folder, by name."""
    folders = sorted(work_folder().glob("*"))
    return [Left(folder) for folder in folders if folder.is_dir()]


def remove_works(chosen: Callable[[Left], bool]) -> list[Left]:
    """Remove the work folders that are chosen and that no process is at; say which."""
    removed = []
    for work in works():
        lock = FileLock(f"{work.folder}.lock")
        with suppress(Timeout), lock.acquire(timeout=0):  # whoever holds it clears it another time
            if work.folder.is_dir() and chosen(work):
                shutil.rmtree(work.folder)
                removed.append(work)
                Path(lock.lock_file).unlink(missing_ok=True)
    return removed


def will_be_asked_for(params: Params, work: Left) -> bool:
    """Whether a stage that is still to run in this workspace would use a work folder."""
    try:
        key = stage_key(params, work.command)
    except UserError:  # the stage is no longer in dvc.yaml
        return False
    return work.folder.name.endswith(key) and not _up_to_date(work.command, key)


def clear_unneeded(params: Params) -> None:
    """Remove what was left in this workspace and no stage will ask for, as after the last stage."""
    remove_works(lambda work: work.is_of_this_workspace and not will_be_asked_for(params, work))
