"""Tasks in processes of their own."""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from recitative.errors import UserError

Key = TypeVar("Key")
Result = TypeVar("Result")


def run_apart(
    tasks: Mapping[Key, Callable[[], Result]], workers: int, title: str
) -> dict[Key, Result]:
    """Run every picklable task in a fresh process, forked from one that has done nothing but import.

    Returns:
        Each task's result.

    Raises:
        UserError: a process died.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recitative.corpora.demo"])
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        keys = {pool.submit(task): key for key, task in tasks.items()}
        done = tqdm(as_completed(keys), title, total=len(keys), unit="")
        try:
            return {keys[future]: future.result() for future in done}
        except BrokenProcessPool as error:
            raise UserError(
                f"{title}: one of {workers} processes died (out of memory, or espeak-ng crashed); "
                "run again with fewer workers"
            ) from error
