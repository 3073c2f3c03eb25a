"""Freed memory stays with a training process, which asks for the same blocks again a moment later.

glibc maps every block above 32 MB anew and gives it back when it is freed, so that each map of each
step of a large batch is paid for in page faults: about a tenth of a step of 244 segments (`make
bench`). Kept, they cost what the largest step needs, and no result changes.
"""

import ctypes

# /usr/include/malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = 2**31 - 1  # bytes at the heap's end, the most that mallopt takes


def keep_freed_memory() -> bool:
    """Tell glibc to keep large blocks; False where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
