"""`recitative agreement RATINGS`: how far listeners agree, of any table of ratings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from recitative.agreement import study
from recitative.agreement.alpha import Level
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

    Args:
        ratings: the table.
        recipe: name of a study.
        draws: bootstrap resamples; 0 for none.
        seed: of the resamples.
        json_file: where to write the rows, too.
        plots: folder to draw into.
        params_file: of the stage.
        question: what is in the table, as the command line gives it: the fields of `Question`.
    """
    if ratings is None:
        stage.run(load_params(params_file))
    elif recipe:
        reproduce(recipe, ratings, seed, draws, json_file)
    else:
        for name in ("rater", "values"):
            question[name] = _commas(question[name])
        question["scale"] = _scale(question["scale"])
        answer(Question(ratings, **question), seed, draws, json_file, plots)


def _commas(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--scale {text}: two numbers with a comma, for example 1,5") from error
    return low, high


@dataclass(frozen=True)
class Question:
    """What a user asks of a table of ratings."""

    file: Path
    rater: tuple[str, ...] = ()
    unit: str | None = None
    values: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    by: str | None = None
    scale: tuple[float, float] | None = None
    level: Level = "ordinal"


def answer(
    question: Question, seed: int, draws: int, json_file: Path | None, plots: Path | None
) -> None:
    """Print alpha of every value and group; write the same as JSON, draw the pictures."""
    ratings = _read(question)
    for note in ratings.notes:
        click.echo(note)
    rows = analyse(ratings, question.level, seed=seed, draws=draws)
    click.echo(format_table(rows))
    _deliver(rows, ratings, question.level, json_file, plots)


def reproduce(name: str, file: Path, seed: int, draws: int, json_file: Path | None) -> None:
    """Reproduce a published study."""
    if name != "ismir2020":
        raise UserError(f"--recipe {name}: no such recipe; known: ismir2020")
    parts = study.by_language, study.by_trait, study.base
    languages, traits, base = (part(file, seed=seed, draws=draws) for part in parts)
    click.echo(study.format_study(languages, traits, base))
    if json_file:
        write_json(json_file, [*languages, *base, *traits])


def _read(question: Question) -> Ratings:
    if question.wide:
        return read_wide(
            question.file,
            question.wide,
            unit=question.unit,
            filters=question.filters,
            by=question.by,
            scale=question.scale,
            level=question.level,
        )
    if not (question.rater and question.unit and question.values):
        raise UserError(
            f"{question.file}: say what is in it: --rater, --unit and --values name columns of a "
            "long table, --wide the raters' columns of a wide one"
        )
    return read_ratings(
        question.file,
        question.rater,
        question.unit,
        question.values,
        filters=question.filters,
        by=question.by,
        scale=question.scale,
        level=question.level,
    )


def _deliver(
    rows: Sequence[dict[str, Any]],
    ratings: Ratings,
    level: Level,
    json_file: Path | None,
    plots: Path | None,
) -> None:
    if json_file:
        write_json(json_file, list(rows))
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        for path in draw_agreement(ratings, rows, level, plots):
            click.echo(path)
