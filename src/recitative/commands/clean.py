"""`recitative clean`: the work folders that killed or finished stages left, their sizes, and away."""

from contextlib import suppress

import click

from recitative.experiment.lifeline import free_dead_locks
from recitative.experiment.work import Left, remove_works, will_be_asked_for, works
from recitative.params import Params


def run(
    params: Params, everything: bool = False, dry_run: bool = False, locks: bool = False
) -> None:
    """Print every work folder with its size; remove those that no stage here will ask for.

    What another experiment's folder left is kept: it may go on. A folder that a process is at is
    never removed. DVC's list of locks is mended where a killed `dvc` left half of one.

    With `everything` all are removed, also what a killed stage would go on from; with `dry_run` only
    printed; with `locks` only the list of locks is mended.
    """
    with suppress(OSError):  # there is none, or a dvc is at it
        if not dry_run and free_dead_locks():
            click.echo("a dvc was killed while it wrote .dvc/tmp/rwlock: mended")
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
