"""`recitative index`: data/ -> build/index/<role>.csv, with problems and ratings beside it."""

import click

from recitative.corpora.base import EMOTION_ROLES, SOURCE_ROLES, MissingDataError
from recitative.corpora.indexing import index_role, is_left_out, write_index
from recitative.experiment.places import DATA, INDEX
from recitative.files import atomic_folder
from recitative.params import Params


def run(params: Params) -> None:
    """Read every role's corpus; say what was found and what is wrong with it."""
    missing = [role for role in SOURCE_ROLES if role not in params.datasets]
    if missing := [role for role in missing if role not in EMOTION_ROLES]:
        raise MissingDataError(f"params.yaml: datasets.{missing[0]}: no corpus for this role")
    with atomic_folder(INDEX) as folder:
        for role in SOURCE_ROLES:
            if role not in params.datasets:
                continue
            config, workers = params.datasets[role], params.compute.processes
            if is_left_out(role, config, DATA):
                why = "only pretrain.arch: emotion learns from it"
                click.echo(f"{role}: left out, {DATA / config.folder} is not there; {why}")
                continue
            index = index_role(role, config, DATA, workers, params.emotions)
            write_index(index, folder)
            hours = sum(clip.seconds for clip in index.clips) / 3600
            groups = len({clip.group for clip in index.clips})
            click.echo(
                f"{role}: {len(index.clips)} clips, {hours:.2f} h, {groups} groups, "
                f"{len(index.problems)} problems"
            )
            for problem in index.problems[:3]:
                click.echo(f"  {problem.path}: {problem.reason}")
            if len(index.problems) > 3:
                click.echo(f"  … all in {INDEX}/{role}.problems.csv")
