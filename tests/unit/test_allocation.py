"""Freed memory stays with the process: asking for the same block again costs no page faults."""

import subprocess
import sys

import pytest

from recitative.learning.allocation import keep_freed_memory

FAULTS = """
import resource
from recitative.learning.allocation import keep_freed_memory
{call}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (lambda n: b"x" * n)(2**26)  # 64 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(15):  # until the heap has found its shape
    faults()
print(max(faults() for _ in range(3)))
"""


def test_a_large_block_is_paid_for_once() -> None:
    if not keep_freed_memory():
        pytest.skip("another C library than glibc")
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(call=call)]))
        for call in ("", "assert keep_freed_memory()")
    )
    assert given_back > 10_000  # pages of 4 KB
    assert kept < 100
