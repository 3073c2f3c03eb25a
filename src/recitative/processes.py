"""Whether a process of this machine still runs."""

import psutil


def lives(pid: int, born: float | None = None) -> bool:
    """Whether a process runs, and is the one that was `born` then (s since 1970) where that is known.

    One that ended, and whose exit code nobody has asked for, does not run.
    """
    try:
        process = psutil.Process(pid)
        same = born is None or abs(process.create_time() - born) < 2
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
