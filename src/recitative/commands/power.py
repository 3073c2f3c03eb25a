"""`recitative power`: the smallest difference that songs and repeats can show, before training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import click
import pandas as pd

from recitative.commands.cost import SONG_SECONDS, experiments
from recitative.errors import UserError
from recitative.evaluation.claims import FAMILY_SIZE, CellName
from recitative.evaluation.comparisons import split_cells
from recitative.evaluation.metrics import read_predictions
from recitative.evaluation.power import (
    MOST_SONGS,
    POWER,
    REPEATS,
    SONGS,
    TYPICAL,
    Variances,
    smallest,
    songs_for,
    variances_of,
)
from recitative.evaluation.statistics import LEVEL
from recitative.experiment.places import prediction_folders
from recitative.params import Params

FAMILY = "classification"


def run(
    params_file: Path,
    overrides: Sequence[str],
    songs: int | None,
    repeats: int | None,
    points: float,
) -> None:
    """Print the smallest difference by songs and repeats, and the songs for a difference of `points`.

    The variances are those of the cells in build/, typical ones where it has none with two repeats.

    Raises:
        UserError: an override is not ``name=value`` or is a grid, its name is unknown, or there are
            too few songs, 1 repeat, or no difference to look for.
    """
    grid = list(experiments(params_file, overrides))
    if len(grid) > 1:
        raise UserError(f"{' '.join(overrides)}: a grid; give each name one value")
    ((_, params),) = grid
    planned = params.transfer.repeats if repeats is None else repeats
    if planned == 1:
        raise UserError(
            "1 repeat: nothing can tell how much trainings vary, so no test can tell a better method "
            "from a lucky training; give --repeats or transfer.repeats 2 at least"
        )
    cells = built()
    variances = variances_of(cells, "measured on the cells in build/") or TYPICAL
    tested = songs
    if tested is None and cells and not overrides:
        tested = round(median(table["clip"].nunique() for table in cells.values()))
    elif tested is None:
        tested = test_songs(params)
    click.echo(told(variances, tested, planned, points))


def built() -> dict[CellName, pd.DataFrame]:
    """The test predictions in build/, by cell."""
    found = {}
    for pairing, folder in prediction_folders().items():
        path = folder / "predictions.csv"
        if path.exists():
            for key, table in split_cells({pairing: read_predictions(path)}).items():
                found[CellName("", str(table["arch"].iloc[0]), key.mode, pairing)] = table
    return found


def test_songs(params: Params) -> int | None:
    """About how many songs a music set will be tested on; None where balance takes all there is."""
    hours, split = params.balance.music_hours, params.split
    if hours is None:
        return None
    share = split.music_test if split.scheme == "holdout" else 1.0
    return max(2, round(share * hours * 3600 / SONG_SECONDS))


def told(variances: Variances, songs: int | None, repeats: int, points: float) -> str:
    """What is printed."""
    rows = sorted({*SONGS, *([songs] if songs is not None else [])})
    columns = sorted({*REPEATS, repeats})
    table: Mapping[int, list[str]] = {
        row: [f"{smallest(variances, row, column):.1f}" for column in columns] for row in rows
    }
    needed = [(column, songs_for(variances, points, column)) for column in columns if column > 1]
    lines = [
        f"The smallest difference, in points of macro F (quadrants, songs), that is found with "
        f"{POWER:.0%} power at p of at most {LEVEL}; one pair of cells.",
        f"Variances: {variances.source}; trainings vary by "
        f"{100 * variances.trainings**0.5:.1f} points (standard deviation).",
        "",
        f"{'songs':>8}" + "".join(f"{_repeats(column):>12}" for column in columns),
        *(f"{row:>8,}" + "".join(f"{cell:>12}" for cell in table[row]) for row in rows),
        "",
        "1 repeat: as if it were known how much trainings vary; such an experiment cannot tell it.",
        f"A difference of {points:g} points takes "
        + ", ".join(f"{_songs(count)} with {_repeats(column)}" for column, count in needed)
        + ".",
    ]
    if songs is not None:
        family = FAMILY_SIZE[FAMILY]
        strict = smallest(variances, songs, repeats, LEVEL / family)
        lines.append(
            f"As planned, {songs:,} songs a music set and {_repeats(repeats)}: "
            f"{smallest(variances, songs, repeats):.1f} points; as one of the {family} claims about "
            f"{FAMILY}, {strict:.1f}."
        )
    return "\n".join(lines)


def _repeats(count: int) -> str:
    return f"{count} repeat{'' if count == 1 else 's'}"


def _songs(count: int | None) -> str:
    return f"out of reach (above {MOST_SONGS:,} songs)" if count is None else f"{count:,} songs"
