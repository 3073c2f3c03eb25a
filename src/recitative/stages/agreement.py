"""`recitative agreement`: how far the listeners of each music set agree -> build/agreement/."""

from typing import Any

import click

from recitative.agreement import consensus
from recitative.agreement.consensus import task_classes
from recitative.agreement.figures import draw_agreement
from recitative.agreement.ratings import read_music_ratings
from recitative.agreement.table import analyse
from recitative.corpora.base import MUSIC_ROLES
from recitative.corpora.indexing import read_index
from recitative.experiment import labels as identity
from recitative.experiment.places import AGREEMENT, INDEX
from recitative.files import atomic_folder, write_csv, write_json
from recitative.params import Params
from recitative.seeding import derive_seed
from recitative.tracking.runs import open_run, parent_run_id, reap


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
            chance: Any = {"seed": seed, "draws": draws, "midpoint": middle}
            rows += consensus.agreement_rows(ratings, music, jobs=jobs, **chance)
            sets[music] = consensus.set_agreement(ratings, **chance)
            figures = folder / "figures" / music
            figures.mkdir(parents=True)
            table = analyse(ratings, "interval", seed=seed, draws=draws, jobs=jobs)
            for figure in draw_agreement(
                ratings, table, "interval", figures, lambda r: task_classes(r, "quadrant", middle)
            ):
                tracked.log_artifact(figure, music)
        write_csv(folder / "alpha.csv", consensus.ALPHA_COLUMNS, rows)
        write_json(folder / "agreement.json", sets)
        tracked.log_artifact(folder / "alpha.csv")
        found = {
            (row["music_language"], row["variable"]): row["alpha"]
            for row in rows
            if row["alpha"] is not None and row["resampled"] == "both"
        }
        tracked.log_metrics({f"alpha_{name}_{music}": a for (music, name), a in found.items()})
        write_json(folder / "run.json", {"run_id": tracked.id})
    for (music, name), alpha in found.items():
        click.echo(f"{music} {name}: alpha {alpha:.3f}")
