"""`recitative agreement`: how far listeners agree, of the music sets (stage) or of any table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from recitative.agreement import study as ismir2020
from recitative.agreement.alpha import Level
from recitative.agreement.consensus import (
    ALPHA_COLUMNS,
    agreement_rows,
    set_agreement,
    task_classes,
)
from recitative.agreement.figures import draw_agreement
from recitative.agreement.ratings import Ratings, read_music_ratings, read_ratings, read_wide
from recitative.agreement.table import analyse, format_table
from recitative.corpora.base import MUSIC_ROLES
from recitative.corpora.indexing import read_index
from recitative.errors import UserError
from recitative.experiment import labels as identity
from recitative.experiment.places import AGREEMENT, INDEX
from recitative.files import atomic_folder, write_csv, write_json
from recitative.params import Params
from recitative.seeding import derive_seed
from recitative.tracking.runs import open_run, parent_run_id, reap


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


def recipe(name: str, file: Path, seed: int, draws: int, json_file: Path | None) -> None:
    """Reproduce a published study."""
    if name != "ismir2020":
        raise UserError(f"--recipe {name}: no such recipe; known: ismir2020")
    parts = ismir2020.by_language, ismir2020.by_trait, ismir2020.base
    languages, traits, base = (part(file, seed=seed, draws=draws) for part in parts)
    click.echo(ismir2020.format_study(languages, traits, base))
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


def run(params: Params) -> None:
    """Of every music set with several raters: alpha, majority, ceiling -> build/agreement/."""
    for role in MUSIC_ROLES:
        read_index(INDEX, role)  # refuses where there is none yet
    reap()
    rows: list[dict[str, Any]] = []
    sets: dict[str, Any] = {}
    seed, jobs = derive_seed(params.seed, "agreement"), params.compute.processes
    cell = identity.labels(params, "cpu", "none", "none", "agreement", 0)
    with (
        atomic_folder(AGREEMENT) as folder,
        open_run(
            "agreement", cell, cell | identity.provenance("agreement"), parent=parent_run_id()
        ) as tracked,
    ):
        draws, middle = params.agreement.draws, params.agreement.midpoint
        for role in MUSIC_ROLES:
            path = INDEX / f"{role}.ratings.csv"
            if not path.exists():
                click.echo(f"{role}: no ratings, so no agreement")
                continue
            music, ratings = role.removeprefix("music-"), read_music_ratings(path)
            rows += agreement_rows(
                ratings, music, seed=seed, draws=draws, midpoint=middle, jobs=jobs
            )
            sets[music] = set_agreement(ratings, seed=seed, draws=draws, midpoint=middle)
            figures = folder / "figures" / music
            figures.mkdir(parents=True)
            table = analyse(ratings, "interval", seed=seed, draws=draws, jobs=jobs)
            for figure in draw_agreement(
                ratings, table, "interval", figures, lambda r: task_classes(r, "quadrant", middle)
            ):
                tracked.log_artifact(figure, music)
        write_csv(folder / "alpha.csv", ALPHA_COLUMNS, rows)
        write_json(folder / "agreement.json", sets)
        tracked.log_artifact(folder / "alpha.csv")
        tracked.log_metrics(
            {
                f"alpha_{row['variable']}_{row['music_language']}": row["alpha"]
                for row in rows
                if row["alpha"] is not None and row["resampled"] == "both"
            }
        )
        write_json(folder / "run.json", {"run_id": tracked.id})
    for row in rows:
        if row["resampled"] == "both" and row["alpha"] is not None:
            click.echo(f"{row['music_language']} {row['variable']}: alpha {row['alpha']:.3f}")
