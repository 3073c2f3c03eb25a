"""`recitative clean`: the work folders that killed or finished stages left, their sizes, and away."""

import fcntl
from contextlib import suppress
from pathlib import Path

import click
import yaml

from recitative.experiment.lifeline import free_dead_locks
from recitative.experiment.work import LOCK, Left, remove_works, will_be_asked_for, works
from recitative.params import Params


def run(
    params: Params, everything: bool = False, dry_run: bool = False, locks: bool = False
) -> None:
    """Print every work folder with its size; remove those that no stage here will ask for.

    What another experiment's folder left is kept: it may go on. A folder that a process is at is
    never removed. DVC's own files are mended where a killed `dvc` left half of one.

    With `everything` all are removed, also what a killed stage would go on from; with `dry_run` only
    printed; with `locks` only DVC's own files are mended.
    """
    if not dry_run:
        _mend_dvcs_files()
    if locks:
        return

    def chosen(work: Left) -> bool:
        here = work.is_of_this_workspace and not will_be_asked_for(params, work)
        return everything or here or not work.about

    found = {work.folder: (work.size, chosen(work)) for work in works()}
    removed = set() if dry_run else {work.folder for work in remove_works(chosen)}
    for folder, (size, unneeded) in found.items():
        if folder in removed:
            state = "removed"
        elif unneeded:
            state = "would be removed" if dry_run else "kept: a process is at it"
        else:
            state = "kept: a stage may go on from it"
        click.echo(f"{size / 1e6:10.1f} MB  {folder.name}  {state}")
    freed = sum(size for folder, (size, _) in found.items() if folder in removed)
    click.echo(f"{len(removed)} of {len(found)} work folders removed, {freed / 1e6:.1f} MB freed")


def _mend_dvcs_files() -> None:
    """Undo what a `dvc` left that was killed while it wrote in place: half a file, which it refuses.

    Of dvc.lock nothing is lost: DVC finds the stages that it has run in its cache of runs.
    """
    with suppress(OSError):  # there is none, or a dvc is at it
        if free_dead_locks():
            click.echo("a dvc was killed while it wrote .dvc/tmp/rwlock: mended")
    with suppress(OSError), (Path(".dvc") / "tmp" / "lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a dvc holds it while it writes dvc.lock
        if LOCK.is_file() and not _is_whole(LOCK):
            names = (Path(f"{LOCK}.damaged{number}") for number in ("", *range(2, 10_000)))
            LOCK.rename(aside := next(name for name in names if not name.exists()))
            said = f"put aside as {aside}; `dvc repro` goes on"
            click.echo(f"a dvc was killed while it wrote {LOCK}: {said}")


def _is_whole(lock: Path) -> bool:
    """Whether a dvc.lock has what DVC asks of one."""
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
        entries = [one for of in stages for one in [*of.get("deps", ()), *of.get("outs", ())]]
        named = all(isinstance(one["path"], str) for one in entries)
        known = all(one.get("hash", "md5") == "md5" for one in entries)
        return named and known and all(isinstance(of["cmd"], (str, list)) for of in stages)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return False
