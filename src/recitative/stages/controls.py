"""`recitative controls LANGUAGE`: what scores mean without pretraining -> build/controls/<language>/."""

from collections.abc import Sequence

import click
import numpy as np
import pandas as pd

from recitative.audio import load_audio
from recitative.corpora.certificate import require_clean
from recitative.files import write_json
from recitative.learning.baselines import (
    opensmile_functionals,
    opensmile_installed,
    predict_baseline,
)
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES
from recitative.models.storage import describe
from recitative.params import Params
from recitative.seeding import derive_seed
from recitative.stages import identity
from recitative.stages.cells import (
    Repeat,
    label,
    load_music,
    log_predictions,
    run_repeats,
    scores,
)
from recitative.stages.outputs import Baseline, write_cells
from recitative.stages.workspace import (
    CONTROLS,
    DATA,
    FEATURES,
    INDEX,
    SPLITS,
    classifier_description,
    content_key,
    role_clips,
    working,
)
from recitative.tracking.runs import Run, parent_run_id, reap
from recitative.tracking.runs import run as open_run


def run(params: Params, music: str) -> None:
    """Run every control on one music set, with the repeats of transfer where chance plays a part."""
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    reap()
    role, compute = f"music-{music}", Compute.decide(params.compute)
    features = params.features
    pretrained = describe(
        params.pretrain.arch, params.encoder, params.arch, features.n_mels, features.segment_frames
    )
    description = classifier_description(params, pretrained)
    transfer = params.controls.transfer(params.transfer)
    key = content_key(
        description,
        transfer.model_dump(mode="json"),
        FEATURES / role / "features.json",
        SPLITS / f"{role}.csv",
        INDEX / f"{role}.csv",
        [
            params.seed,
            str(compute),
            params.split.model_dump(mode="json"),
            features.segment_hop,
        ],
    )
    missing = _missing(params.controls.names)
    names = [name for name in params.controls.names if name not in missing]
    networks = [name for name in names if name in TRANSFER_MODES]
    cell = identity.labels(params, compute, "none", music, "parent", "all")
    with (
        working(f"controls-{music}", key) as work,
        open_run(
            f"controls none2{music} {params.pretrain.arch}",
            cell,
            cell | identity.provenance("controls", role),
            parent=parent_run_id(),
            resume=work / "run_id",
            measure=False,
        ) as parent,
    ):
        # One process a mode and repeat: a network from scratch takes longer than all others.
        repeats = [
            Repeat(params, transfer, description, "none", music, (mode,), repeat, None, None, work,
                   parent.id)
            for mode in sorted(networks, key=lambda mode: mode != "scratch")
            for repeat in range(transfer.repeats)
        ]  # fmt: skip
        finished = [one for modes in run_repeats(repeats) for one in modes]
        baselines = [
            _baseline(params, compute, music, name, repeat, parent)
            for name in names
            if name not in TRANSFER_MODES
            for repeat in range(transfer.repeats if name == "stratified" else 1)
        ]
        summary = write_cells(
            CONTROLS / music, params, description, music, finished, parent, baselines, key=key
        )
        write_json(CONTROLS / music / "missing.json", missing)
    for line in [*summary, *(f"{name}: left out: {why}" for name, why in missing.items())]:
        click.echo(f"none2{music} {line}")


def _missing(names: Sequence[str]) -> dict[str, str]:
    """The controls that cannot be run here, and why; the report says so in their place."""
    if "opensmile_svm" in names and not opensmile_installed():
        why = (
            "opensmile is not installed: `pip install opensmile`, then `dvc repro --force controls`"
        )
        return {"opensmile_svm": why}
    return {}


def _baseline(
    params: Params, compute: Compute, music: str, name: str, repeat: int, parent: Run
) -> Baseline:
    segments, folds = load_music(params, music)
    cell = identity.labels(params, compute, "none", music, name, repeat)
    role = f"music-{music}"
    functionals = None
    if name == "opensmile_svm":
        paths = {clip.id: DATA / clip.path for clip in role_clips(role)}
        rate = params.features.sample_rate
        signals = (load_audio(paths[clip], rate) for clip in segments.clips)
        functionals = opensmile_functionals(signals, rate)
    with open_run(
        f"none2{music} {name} {repeat}",
        identity.run_params(params, cell, "features", "balance", "split"),
        cell | identity.provenance("controls", role),
        [identity.inputs(role, "evaluation")],
        parent.id,
    ) as tracked:
        tables = []
        for fold, parts in enumerate(folds):
            seed = derive_seed(params.seed, "controls", music, name, repeat, fold)
            predicted = predict_baseline(name, segments, parts, seed, functionals)
            table = segments.predictions(parts.test, predicted.astype(np.float64))
            tables.append(label(table, params.pretrain.arch, name, repeat, fold))
        table = pd.concat(tables, ignore_index=True)
        tracked.log_metrics({f"test_{key}": value for key, value in scores(table).items()})
        log_predictions(tracked, table)
    return Baseline(name, repeat, tracked.id, table)
