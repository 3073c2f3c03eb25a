"""What `size` and `protocol` mean: the value of each parameter that is `auto`.

sizes.csv and protocols.csv have a line a parameter. Each line of a protocol comes from a row of the
comparison of the paper, its release and sound practice (docs/protocols.md; C1 to C24): `ROWS`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recitative.errors import UserError
from recitative.files import read_csv

AUTO = "auto"


def _columns(name: str) -> dict[str, dict[str, Any]]:
    """Each column of a table beside this file as values by parameter; an empty cell says nothing."""
    found: dict[str, dict[str, Any]] = {}
    for row in read_csv(Path(__file__).with_name(name)):
        parameter = row.pop("parameter")
        for column, text in row.items():
            if text:
                found.setdefault(column, {})[parameter] = yaml.safe_load(text)
    return found


SIZES = _columns("sizes.csv")
PROTOCOLS = _columns("protocols.csv")
# The row of docs/protocols.md that each parameter of a protocol comes from.
ROWS: dict[str, str] = PROTOCOLS.pop("row")
BY_SIZE = "by size"  # what a protocol says nothing of


def decided(name: str, protocol: str, size: str) -> tuple[Any, str] | None:
    """What `auto` stands for, and which switch says so: the protocol before the size; or None."""
    tables = {f"protocol: {protocol}": PROTOCOLS[protocol], f"size: {size}": SIZES[size]}
    found = ((of_size(table[name], size), of) for of, table in tables.items() if name in table)
    return next(found, None)


def of_size(value: Any, size: str) -> Any:
    """A protocol's value; it may have one for each size."""
    return value[size] if isinstance(value, dict) else value


@dataclass(frozen=True)
class Differing:
    """One parameter that two protocols set differently, and the row that says why."""

    parameter: str
    first: Any
    second: Any
    row: str


def protocol_diff(first: str, second: str) -> list[Differing]:
    """What differs between two protocols, in the order of the parameters.

    Raises:
        UserError: an unknown protocol; the known ones are listed.
    """
    for name in (first, second):
        if name not in PROTOCOLS:
            raise UserError(f"{name}: no such protocol; choose of {', '.join(PROTOCOLS)}")
    a, b = PROTOCOLS[first], PROTOCOLS[second]
    return [
        Differing(name, a.get(name, BY_SIZE), b.get(name, BY_SIZE), row)
        for name, row in ROWS.items()
        if a.get(name, BY_SIZE) != b.get(name, BY_SIZE)
    ]
