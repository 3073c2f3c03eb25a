"""`recitative params` and `recitative protocol diff`: which values hold, and where they come from."""

from collections.abc import Sequence
from pathlib import Path

import click

from recitative.params import flatten, load_with_origins
from recitative.switches import protocol_diff


def run(params_file: Path) -> None:
    """Print every value in force and where it comes from."""
    params, origins = load_with_origins(params_file)
    values = flatten(params.model_dump(mode="json"))
    _print([(name, str(value), origins.get(name, "default")) for name, value in values.items()])


def diff(first: str, second: str) -> None:
    """Print what two protocols set differently, and the row of docs/protocols.md that says why."""
    found = protocol_diff(first, second)
    rows = [(d.parameter, str(d.first), str(d.second), d.row) for d in found]
    _print([("parameter", first, second, "row"), *rows])


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [min(60, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
