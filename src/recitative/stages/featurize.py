"""`recitative featurize`: the split's clips -> build/features/<role>/ (frames.npy, clips.csv)."""

import click

from recitative.corpora.base import ROLES
from recitative.corpora.splits import read_splits
from recitative.features.extraction import extract
from recitative.files import write_json
from recitative.params import Params
from recitative.stages.workspace import DATA, FEATURES, SPLITS, feature_cache, role_clips, workers


def run(params: Params) -> None:
    """Compute, or take from the cache, the log-mel frames of every clip that the split uses."""
    for role in ROLES:
        wanted = {row.id for row in read_splits(SPLITS, role)}
        clips = [clip for clip in role_clips(role) if clip.id in wanted]
        folder = FEATURES / role
        report = extract(
            clips, DATA, params.features, folder, feature_cache(), workers(params.compute)
        )
        digest = {"feature_hash": report.feature_hash, "clips": report.clips, "hours": report.hours}
        write_json(folder / "features.json", digest)
        click.echo(f"{role}: {report}")
        for problem in report.problems:
            click.echo(f"  {problem.path}: {problem.reason}")
