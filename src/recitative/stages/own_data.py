"""`recitative use-data FOLDER`, `use-demo`: whose corpora data/ holds.

data.dvc imports the embedded corpus. `dvc add data` on it would keep that import, and the next
`dvc repro` would overwrite the user's files; so the import is removed first, then data/ is added.
The user's files are linked (reflink, else hard link, else copied), never moved; where anything in
data/ is not known to DVC, nothing is touched, and a data/ that is the user's own is put aside, never
deleted: it may be the only place where its files have their names.
"""

import fcntl
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from recitative.corpora.base import MissingDataError
from recitative.errors import UserError
from recitative.files import atomic_folder
from recitative.params import Params
from recitative.stages.workspace import DATA

FICLONE = 0x40049409  # Linux: share the blocks of one file with another, copy on write
IMPORT = Path("data.dvc")
EMBEDDED = """\
# The data folder: an unfrozen import of the embedded corpus. For corpora of your own:
# `make use-data DATA=PATH` (never `dvc add data` on this file: see docs/datasets.md).
deps:
- path: build/corpus
outs:
- path: data
  persist: true # DVC asks before it removes what is not its own
"""


def use(params: Params, folder: Path) -> None:
    """Make the corpora in `folder` this project's data/, tracked by DVC; `folder` stays as it is.

    Raises:
        UserError: there are no corpora in it, or data/ holds what DVC does not know.
    """
    source = folder.expanduser().resolve()
    if not source.is_dir():
        raise MissingDataError(f"{folder}: no such folder; name the one that holds the corpora")
    wanted = sorted({config.folder for config in params.datasets.values()})
    found = [name for name in wanted if (source / name).is_dir()]
    if not found:
        raise MissingDataError(
            f"{folder}: none of {', '.join(wanted)} is in it; these are the folders that "
            "params.yaml names (datasets.*.folder)"
        )
    if source == DATA.resolve():
        if _is_import():
            _dvc("remove", str(IMPORT))
        _dvc("add", "--quiet", str(DATA))
        click.echo("data/ is tracked as it is; `dvc repro` runs on it")
        return
    _require_known(DATA)
    ways: Counter[str] = Counter()
    with atomic_folder(DATA) as fresh:
        for name in found:
            for path in _files(source / name):
                ways[_link(path, fresh / path.relative_to(source))] += 1
        _put_aside()
    _dvc("add", "--quiet", str(DATA))
    counted = ", ".join(f"{count} {way}" for way, count in ways.items())
    click.echo(f"data/ now holds {', '.join(found)} from {source} ({counted})")
    for name in sorted(set(wanted) - set(found)):
        click.echo(f"note: {name} is not there; the role that reads it will be missing")
    if "hard-linked" in ways:
        click.echo("note: hard-linked files are made read-only, here and there: they are the same")
    click.echo("next: `dvc repro`; back to the embedded corpus: `make use-demo`")


def use_demo() -> None:
    """Make data/ the import of the embedded corpus again; what it held is put aside.

    Raises:
        UserError: data/ holds what DVC does not know.
    """
    _require_known(DATA)
    _put_aside()
    IMPORT.write_text(EMBEDDED, encoding="utf-8")
    click.echo("data.dvc imports the embedded corpus; next: `dvc repro`")


def guard() -> None:
    """Stop before DVC would overwrite files that somebody put into the imported data/ by hand.

    The stage that makes the embedded corpus asks this first. With it unchanged, DVC itself refuses
    to remove what it does not know (`persist`); but a new one it copies over files of equal names.

    Raises:
        UserError: data.dvc is the import, and data/ holds what DVC does not know.
    """
    if _is_import():
        _require_known(DATA)


def _is_import() -> bool:
    return IMPORT.exists() and "build/corpus" in IMPORT.read_text(encoding="utf-8")


def _put_aside() -> None:
    """Make room for another data/: the import's is made again at will, any other is renamed."""
    if _is_import():
        shutil.rmtree(DATA, ignore_errors=True)
    elif DATA.exists():
        names = (DATA.with_name(f"data.kept{number}") for number in ("", *range(2, 10_000)))
        kept = next(name for name in names if not name.exists())
        DATA.rename(kept)
        click.echo(
            f"note: what data/ held is now in {kept}/; delete it when nothing in it is needed, or "
            f"take it back: `make use-data DATA={kept}`"
        )
    if IMPORT.exists():
        _dvc("remove", str(IMPORT))


def _require_known(folder: Path) -> None:
    """Refuse where a file in data/ is in no DVC cache: it may be the only copy."""
    if not folder.exists():
        return
    status = json.loads(_dvc("data", "status", "--granular", "--json") or "{}")
    uncommitted = status.get("uncommitted", {})
    names = [
        name
        for kind in ("added", "modified", "unknown")
        for name in _names(uncommitted.get(kind, []))
        if Path(name).parts[:1] == (folder.name,) and Path(name).is_file()
    ]
    tracked = IMPORT.exists() and "md5" in IMPORT.read_text(encoding="utf-8")
    if not tracked:
        names += [str(path) for path in _files(folder)]
    if names:
        raise UserError(
            f"{names[0]}: in data/, but not known to DVC ({len(names)} such files): it may be the "
            "only copy. Move it away, or keep it with `make use-data DATA=data`"
        )


def _names(entries: list[object]) -> Iterator[str]:
    for entry in entries:
        yield str(entry["path"] if isinstance(entry, dict) else entry)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below `folder`; links to folders are followed, but in no circle."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent)
        above = {ancestor.resolve() for ancestor in (here, *here.parents)}
        folders[:] = sorted(name for name in folders if (here / name).resolve() not in above)
        for name in sorted(names):
            yield here / name


def _link(source: Path, target: Path) -> str:
    """Make `target` the same content as `source`, as cheaply as the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    if not source.is_file():
        raise MissingDataError(f"{source}: a link leads there, but no file is; mend or remove it")
    with source.open("rb") as content, target.open("wb") as clone:
        try:
            fcntl.ioctl(clone, FICLONE, content.fileno())
        except OSError:
            pass  # no copy on write here: try a hard link
        else:
            return "reflinked"
    target.unlink()
    try:
        os.link(source, target)
    except OSError:  # another file system, or a read-only one
        shutil.copyfile(source, target)
        return "copied"
    return "hard-linked"


def _dvc(*arguments: str) -> str:
    done = subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UserError(f"`dvc {' '.join(arguments)}` failed: {reason}")
    return done.stdout
