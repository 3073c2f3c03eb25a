"""`recitative controls LANGUAGE`: what scores mean without pretraining -> build/controls/<language>/."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
import numpy as np
import pandas as pd

from recitative.audio import load_audio
from recitative.corpora.certificate import require_clean
from recitative.corpora.indexing import read_index
from recitative.experiment import labels, repeats
from recitative.experiment.cell import label, scores, write_predictions
from recitative.experiment.music import classifier_description, load_music
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import DATA, INDEX, SPLITS
from recitative.experiment.repeats import Baseline, Repeat
from recitative.experiment.speech import pretrained_description
from recitative.experiment.work import RESULT, Work, publish_stage
from recitative.files import read_json, write_json
from recitative.learning import baselines
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES
from recitative.params import Params
from recitative.seeding import derive_seed
from recitative.tracking.runs import open_run, reap
from recitative.vocabulary import MUSIC


def run(params: Params, music: str) -> None:
    """Run every control on one music set, with the repeats of transfer where chance plays a part.

    The other set's are run in the same processes (`compute.ahead`).
    """
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    others = [other for other in MUSIC if other != music]
    out = publish_stage(params, "controls", music, others, partial(_run, params))
    left_out = (f"{name}: left out: {why}" for name, why in _missing(params.controls.names).items())
    for line in [*repeats.summary_lines(out), *left_out]:
        click.echo(f"none2{music} {line}")


def _run(params: Params, works: dict[str, Work]) -> None:
    """Run the controls of these music sets side by side, each into its work folder."""
    reap()
    missing = _missing(params.controls.names)
    names = [name for name in params.controls.names if name not in missing]
    transfer = params.controls.transfer(params.transfer)
    description = classifier_description(params, pretrained_description(params))
    with ExitStack() as stack:
        parents = {
            music: stack.enter_context(
                repeats.parent_run(params, "controls", f"none2{music}", work.folder)
            )
            for music, work in works.items()
        }
        # One process a mode and repeat, the longest first: a network from scratch.
        networks = [
            Repeat(params, transfer, description, "none", music, (mode,), repeat, None, None,
                   work.folder, parents[music].id)
            for mode in sorted(TRANSFER_MODES, key=lambda mode: mode != "scratch")
            for music, work in works.items()
            if mode in names
            for repeat in range(transfer.repeats)
        ]  # fmt: skip
        finished = repeats.run_repeats(networks)
        tasks = [
            (params, music, name, repeat, parents[music].id, work.folder / f"{name}-{repeat}.json")
            for music, work in works.items()
            for name in names
            if name not in TRANSFER_MODES
            for repeat in range(transfer.repeats if name == "stratified" else 1)
        ]
        others = in_parallel(_baseline, tasks, params.compute)
        for music, work in works.items():
            repeats.write_cells(
                work.folder / RESULT, params, description, music,
                [done for of, modes in zip(networks, finished, strict=True) if of.music == music
                 for done in modes],
                parents[music],
                [found for (_, of, *_), found in zip(tasks, others, strict=True) if of == music],
                key=work.key,
                missing=missing,
            )  # fmt: skip


def _missing(names: Sequence[str]) -> dict[str, str]:
    """The controls that cannot be run here, and why; the report says so in their place."""
    if "opensmile_svm" not in names or baselines.opensmile_installed():
        return {}
    how = "`pip install opensmile`, then `dvc repro --force controls`"
    return {"opensmile_svm": f"opensmile is not installed: {how}"}


def _baseline(
    params: Params, music: str, name: str, repeat: int, parent: str, done: Path
) -> Baseline:
    """Fit a control that is no network in every fold, in one run; a finished one is only read."""
    if not repeats.is_done(done):
        _fit(params, music, name, repeat, parent, done)
    predictions = pd.read_csv(done.with_suffix(".csv"))
    return Baseline(name, repeat, read_json(done)["run_id"], predictions)


def _fit(params: Params, music: str, name: str, repeat: int, parent: str, done: Path) -> None:
    compute = Compute.decide(params.compute)
    segments, folds = load_music(params, music)
    cell = labels.labels(params, compute, "none", music, name, repeat)
    role = f"music-{music}"
    functionals = None
    if name == "opensmile_svm":
        paths = {clip.id: DATA / clip.path for clip in read_index(INDEX, role)}
        rate = params.features.sample_rate
        signals = (load_audio(paths[clip], rate) for clip in segments.clips)
        functionals = baselines.opensmile_functionals(signals, rate)
    with open_run(
        f"none2{music} {name} {repeat}",
        labels.run_params(params, cell, "features", "balance", "split"),
        cell | labels.provenance("controls", role),
        [labels.inputs(role, "evaluation")],
        parent,
        done.with_suffix(".run_id"),
    ) as tracked:
        tables = []
        for fold, parts in enumerate(folds):
            if params.transfer.refit:  # as many songs as the networks learn from
                parts = parts.refit
            seed = derive_seed(params.seed, "controls", music, name, repeat, fold)
            predicted = baselines.predict_baseline(name, segments, parts, seed, functionals)
            table = segments.predictions(parts.test, predicted.astype(np.float64))
            tables.append(label(table, params.pretrain.arch, name, repeat, fold))
        table = pd.concat(tables, ignore_index=True)
        tracked.log_metrics({f"test_{key}": value for key, value in scores(table).items()})
        repeats.log_predictions(tracked, table)
        write_predictions(done.with_suffix(".csv"), table)
        write_json(done, {"run_id": tracked.id})
