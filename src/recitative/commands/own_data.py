"""`recitative use-data FOLDER`, `use-demo`: whose corpora data/ holds.

data.dvc imports the embedded corpus. `dvc add data` on it would keep that import, and the next
`dvc repro` would overwrite the user's files; so the import is removed first, then data/ is added.
The user's files are linked (reflink, else hard link, else copied), never moved; where anything in
data/ is not known to DVC, nothing is touched, and a data/ that is the user's own is put aside, never
deleted: it may be the only place where its files have their names.
"""

import fcntl
import os
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path

import click

from recitative.corpora.base import MissingDataError
from recitative.experiment.places import DATA
from recitative.experiment.repository import IMPORT, dvc, files_below, is_import, require_known
from recitative.files import atomic_folder
from recitative.params import Params

FICLONE = 0x40049409  # Linux: share the blocks of one file with another, copy on write


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
        why = "these are the folders that params.yaml names (datasets.*.folder)"
        raise MissingDataError(f"{folder}: none of {', '.join(wanted)} is in it; {why}")
    if source == DATA.resolve():
        if is_import():
            dvc("remove", str(IMPORT))
        dvc("add", "--quiet", str(DATA))
        click.echo("data/ is tracked as it is; `dvc repro` runs on it")
        return
    require_known(DATA)
    ways: Counter[str] = Counter()
    with atomic_folder(DATA) as fresh:
        for name in found:
            for path in files_below(source / name):
                ways[_link(path, fresh / path.relative_to(source))] += 1
        _put_aside()
    dvc("add", "--quiet", str(DATA))
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
    require_known(DATA)
    _put_aside()
    shutil.copyfile(Path(__file__).with_name("data.dvc.txt"), IMPORT)
    click.echo("data.dvc imports the embedded corpus; next: `dvc repro`")


def _put_aside() -> None:
    """Make room for another data/: the import's is made again at will, any other is renamed."""
    if is_import():
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
        dvc("remove", str(IMPORT))


def _link(source: Path, target: Path) -> str:
    """Make `target` the same content as `source`, as cheaply as the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    if not source.is_file():
        why = "no file (a pipe, or a link to nothing)"
        raise MissingDataError(f"{source}: {why}; mend or remove it")
    with source.open("rb") as content, target.open("wb") as clone, suppress(OSError):
        fcntl.ioctl(clone, FICLONE, content.fileno())
        return "reflinked"
    target.unlink()  # no copy on write here
    with suppress(OSError):  # another file system, or a read-only one
        os.link(source, target)
        return "hard-linked"
    shutil.copyfile(source, target)
    return "copied"
