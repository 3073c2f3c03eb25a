"""What DVC knows of this project, asked by its command line."""

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from recitative.errors import UserError
from recitative.experiment.places import DATA

IMPORT = Path("data.dvc")


def guard() -> None:
    """Stop before DVC would overwrite files that somebody put into the imported data/ by hand.

    The stage that makes the embedded corpus asks this first. With it unchanged, DVC itself refuses
    to remove what it does not know (`persist`); but a new one it copies over files of equal names.

    Raises:
        UserError: data.dvc is the import, and data/ holds what DVC does not know.
    """
    if is_import():
        require_known(DATA)


def is_import() -> bool:
    """Whether data.dvc is the import of the embedded corpus."""
    return IMPORT.exists() and "build/corpus" in IMPORT.read_text(encoding="utf-8")


def require_known(folder: Path) -> None:
    """Refuse where a file in data/ is in no DVC cache: it may be the only copy."""
    if not folder.exists():
        return
    status = json.loads(dvc("data", "status", "--granular", "--json") or "{}")
    uncommitted = status.get("uncommitted", {})
    entries = chain.from_iterable(uncommitted.get(k, ()) for k in ("added", "modified", "unknown"))
    found = [str(entry["path"] if isinstance(entry, dict) else entry) for entry in entries]
    names = [n for n in found if Path(n).parts[:1] == (folder.name,) and Path(n).is_file()]
    tracked = IMPORT.exists() and "md5" in IMPORT.read_text(encoding="utf-8")
    if not tracked:
        names += [str(path) for path in files_below(folder)]
    if names:
        raise UserError(
            f"{names[0]}: in data/, but not known to DVC ({len(names)} such files): it may be the "
            "only copy. Move it away, or keep it with `make use-data DATA=data`"
        )


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below `folder`; links to folders are followed, but in no circle."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent)
        above = {ancestor.resolve() for ancestor in (here, *here.parents)}
        folders[:] = sorted(name for name in folders if (here / name).resolve() not in above)
        for name in sorted(names):
            yield here / name


def dvc(*arguments: str, shown: bool = False) -> str:
    """What a DVC command printed, or nothing where it is `shown`; without git, DVC is told so.

    Raises:
        UserError: it failed; with its reason.
    """
    pipe = None if shown else subprocess.PIPE
    run = partial(subprocess.run, text=True, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    done = run(["dvc", *arguments])
    if "is not a git repository" in (done.stderr or ""):  # unpacked from an archive
        run(["dvc", "config", "--local", "core.no_scm", "true"])
        done = run(["dvc", *arguments])
    if done.returncode:
        lines = (done.stderr or "").strip().splitlines() or ["see above"]
        said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines
        raise UserError(f"`dvc {' '.join(arguments)}` failed: {said[0]}")
    return done.stdout or ""
