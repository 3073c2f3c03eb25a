"""`recitative agreement RATINGS`: how far listeners agree, of any table of ratings."""

from pathlib import Path
from typing import Any

import click

from recitative.agreement import study
from recitative.agreement.figures import draw_agreement
from recitative.agreement.ratings import Ratings, read_ratings, read_wide
from recitative.agreement.table import analyse, format_table
from recitative.errors import UserError
from recitative.files import write_json
from recitative.params import load_params
from recitative.stages import agreement as stage


def run(
    ratings: Path | None, recipe: str | None, draws: int, seed: int, json_file: Path | None,
    plots: Path | None, params_file: Path, **question: Any,
) -> None:  # fmt: skip
    """Answer about a table, reproduce a study, or, without a table, run the stage.

    The rows are written to `json_file`, too, and drawn into the folder `plots`; `question` says what
    is in the table, as the command line gives it: arguments of the readers.
    """
    if ratings is None:
        stage.run(load_params(params_file))
    elif recipe:
        reproduce(recipe, ratings, seed, draws, json_file)
    else:
        table = _read(ratings, **question | {"scale": _scale(question["scale"])})
        for note in table.notes:
            click.echo(note)
        rows = analyse(table, question["level"], seed=seed, draws=draws)
        click.echo(format_table(rows))
        if json_file:
            write_json(json_file, rows)
        if plots:
            plots.mkdir(parents=True, exist_ok=True)
            for path in draw_agreement(table, rows, question["level"], plots):
                click.echo(path)


def reproduce(name: str, file: Path, seed: int, draws: int, json_file: Path | None) -> None:
    """Reproduce a published study."""
    if name != "ismir2020":
        raise UserError(f"--recipe {name}: no such recipe; known: ismir2020")
    parts = study.by_language, study.by_trait, study.base
    languages, traits, base = (part(file, seed=seed, draws=draws) for part in parts)
    click.echo(study.format_study(languages, traits, base))
    if json_file:
        write_json(json_file, [*languages, *base, *traits])


def _read(
    file: Path, rater: str | None, unit: str | None, values: str | None, wide: tuple[str, ...],
    **options: Any,
) -> Ratings:  # fmt: skip
    if wide:
        return read_wide(file, wide, unit=unit, **options)
    if not (rater and unit and values):
        raise UserError(
            f"{file}: say what is in it: --rater, --unit and --values name columns of a long table, "
            "--wide the raters' columns of a wide one"
        )
    return read_ratings(file, _commas(rater), unit, _commas(values), **options)


def _commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--scale {text}: two numbers with a comma, for example 1,5") from error
    return low, high
