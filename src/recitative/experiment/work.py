"""What several stages need is made side by side by the first of them, and published by each.

DVC runs one stage at a time. So that no core waits, the first stage of a matrix makes its own result
and those of the others that are out of date, each in its work folder; a stage that finds its result
there only publishes it (`compute.ahead`).
"""

import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeVar

from recitative.experiment.places import RESULT, working, working_ahead
from recitative.files import atomic_folder, read_json


class Item(Protocol):
    """One stage's work."""

    @property
    def name(self) -> str:
        """How its work folder is called."""

    @property
    def key(self) -> str:
        """Of all that its result depends on; its run.json holds it."""

    @property
    def out(self) -> Path:
        """Where its stage writes."""


I = TypeVar("I", bound=Item)


def make_and_publish(mine: I, others: Iterable[I], make: Callable[[dict[I, Path]], None]) -> None:
    """Write the output of `mine`.

    Args:
        mine: this stage's work.
        others: work that other stages will ask for; what is up to date is left out.
        make: writes `RESULT` below the work folder of each item that it is given.
    """
    with working(mine.name, mine.key) as folder:
        if not (folder / RESULT).exists():
            with ExitStack() as stack:
                make({mine: folder} | _stale(others, stack))
        with atomic_folder(mine.out) as out:
            shutil.copytree(folder / RESULT, out, dirs_exist_ok=True)


def _stale(others: Iterable[I], stack: ExitStack) -> dict[I, Path]:
    """Those that are out of date and that nobody is at, with their folders, which stay locked."""
    found: dict[I, Path] = {}
    for other in others:
        run_json = other.out / "run.json"
        if run_json.exists() and read_json(run_json).get("key") == other.key:
            continue
        folder = stack.enter_context(working_ahead(other.name, other.key))
        if folder and not (folder / RESULT).exists():
            found[other] = folder
    return found
