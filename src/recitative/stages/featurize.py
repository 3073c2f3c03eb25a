"""`recitative featurize`: the split's clips -> build/features/<role>/ (frames.npy, clips.csv).

Beside the features of emotional speech lie its labels, so that a pretraining depends on no index.
"""

import shutil
from collections.abc import Iterable
from itertools import chain

import click

from recitative.corpora.base import EMOTION_ROLES, ROLES, IndexedClip, sources_of
from recitative.corpora.emotions import write_labels
from recitative.corpora.indexing import read_index
from recitative.corpora.splits import read_splits
from recitative.errors import UserError
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import DATA, FEATURES, INDEX, SPLITS, feature_cache
from recitative.features.extraction import cache_frames, expected_bytes, extract
from recitative.features.mel import FeatureConfig
from recitative.files import atomic_folder, write_json
from recitative.params import Params

CLIPS = 64  # of a task


def run(params: Params) -> None:
    """Compute, or take from the cache, the log-mel frames of every clip that the split uses."""
    planned = plan()
    require_space(chain.from_iterable(planned.values()), params.features)
    for role, clips in planned.items():
        folder = FEATURES / role
        if not clips:  # emotional speech that is not configured; DVC wants the folder
            with atomic_folder(folder) as empty:
                write_json(empty / "features.json", {"clips": 0})
            continue
        if params.compute.backend != "loky":  # the nodes fill the cache of frames, which they share
            parts = [clips[first : first + CLIPS] for first in range(0, len(clips), CLIPS)]
            tasks = [(part, DATA, params.features, feature_cache()) for part in parts]
            in_parallel(cache_frames, tasks, params.compute)
        jobs = params.compute.processes
        report = extract(clips, DATA, params.features, folder, feature_cache(), jobs)
        if set(sources_of(role)) <= {*EMOTION_ROLES}:
            write_labels(folder, clips)
        digest = {"feature_hash": report.feature_hash, "clips": report.clips, "hours": report.hours}
        write_json(folder / "features.json", digest)
        click.echo(f"{role}: {report}")
        for problem in report.problems:
            click.echo(f"  {problem.path}: {problem.reason}")


def plan() -> dict[str, list[IndexedClip]]:
    """The clips that the split uses, role by role."""
    clips = {}
    for role in ROLES:
        wanted = {row.id for row in read_splits(SPLITS, role)}
        indexed = (read_index(INDEX, one) for one in sources_of(role) if wanted)
        clips[role] = [clip for source in indexed for clip in source if clip.id in wanted]
    return clips


def require_space(clips: Iterable[IndexedClip], config: FeatureConfig) -> None:
    """Raise UserError where the clips' frames will not fit on the disk."""
    FEATURES.mkdir(parents=True, exist_ok=True)
    needed = expected_bytes(clips, config)
    there = sum(path.stat().st_size for path in FEATURES.glob("*/frames*.npy"))  # is replaced
    free = shutil.disk_usage(FEATURES).free
    if needed - there > free:
        raise UserError(
            f"{FEATURES}: the frames take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free some space, or lower balance.speech_hours"
        )
