"""How often each value stands in each column of a large table: compiled, since numpy makes ten passes.

One pass turns a block of rows, which fits the processor's cache, into a byte a rating; another
compares the bytes with each value, 32 or 64 at a time.
"""

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STEPS = (
    1.0,
    0.5,
    0.25,
)  # coarse first; exact in binary, so that a value is on the scale or is not
MOST = 128  # values of a scale; a byte holds their places and one more for "no rating"
_ROWS = 15  # a block of 10,000 columns is 1.2 MB
_FULL = 255  # rows until a byte could overflow; a multiple of _ROWS


def tally(table: Floats) -> tuple[Floats, Ints] | None:
    """Count the values of a table on a scale of even steps, whole, half or quarter.

    Args:
        table: (R, U), NaN where there is no rating.

    Returns:
        (V,) values, rising, and (V, U) how often each stands in each column; None where the table
        is on no such scale, or on one of more than `MOST` steps from the lowest to the highest.
    """
    counted = _count(table, table[:_ROWS])  # as a rule a few raters use the whole scale
    return counted if counted is not None else _count(table, table)


def _count(table: Floats, sample: Floats) -> tuple[Floats, Ints] | None:
    """As `tally`, if every value lies on the scale of the sample."""
    low, high = np.fmin.reduce(sample, axis=None), np.fmax.reduce(sample, axis=None)
    if not (np.isfinite(low) and np.isfinite(high)) or high - low >= MOST:
        return None
    step = next((step for step in _STEPS if _on_scale(sample, low, step)), None)
    if step is None or (high - low) / step >= MOST:
        return None
    rows, columns = table.shape
    size = int((high - low) / step) + 1
    counts = np.zeros((size, columns), dtype=np.int64)
    code = np.empty((_ROWS, columns), dtype=np.uint8)
    for start in range(0, rows, _FULL):
        part = np.zeros((size, columns), dtype=np.uint8)
        for first in range(start, min(start + _FULL, rows), _ROWS):
            block = table[first : first + _ROWS]
            if _encode(block, low, 1 / step, size, code):
                return None
            _compare(code[: len(block)], part)
        counts += part
    used = np.flatnonzero(counts.any(axis=1))
    return low + used * step, counts[used]


def _on_scale(sample: Floats, low: float, step: float) -> bool:
    places = (sample - low) / step
    return bool(np.all((places == np.rint(places)) | np.isnan(places)))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _encode(block: Floats, low: float, steps: float, size: int, code: npt.NDArray[np.uint8]) -> int:
    """Write each rating's place among the values, `size` where there is none; how many are strange."""
    strange = 0
    for row in range(block.shape[0]):
        for column in range(block.shape[1]):
            value = block[row, column]
            place = (value - low) * steps
            # NaN is neither; bit by bit, without a branch, so that it is vectorised.
            place = place if (place >= 0) & (place < size) else size
            whole = np.int32(place)
            code[row, column] = np.uint8(whole)
            strange += (value == value) & ((whole != place) | (whole >= size))
    return strange


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _compare(code: npt.NDArray[np.uint8], part: npt.NDArray[np.uint8]) -> None:
    """Add to each value's row of `part` (V, U) the places of `code` (R, U) that are it."""
    for value in range(part.shape[0]):
        place = np.uint8(value)
        for row in range(code.shape[0]):
            for column in range(code.shape[1]):
                part[value, column] += np.uint8(code[row, column] == place)
