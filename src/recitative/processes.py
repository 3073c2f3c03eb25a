"""Whether a process of this machine still runs."""

import psutil


def lives(pid: int, born: float | None = None) -> bool:
    """Whether a process runs; one that ended, and whose exit code nobody has asked for, does not.

    Args:
        pid: its number.
        born: when it started, in s since 1970, if that is known: numbers are used again.
    """
    try:
        process = psutil.Process(pid)
        same = born is None or abs(process.create_time() - born) < 2
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
