"""`recitative controls LANGUAGE`: what scores mean without pretraining -> build/controls/<language>/."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd

from recitative.audio import load_audio
from recitative.corpora.certificate import require_clean
from recitative.experiment import labels as identity
from recitative.experiment.cell import (
    Repeat,
    label,
    load_music,
    log_predictions,
    music_key,
    run_repeats,
    scores,
)
from recitative.experiment.outputs import Baseline, summary_lines, write_cells
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import (
    CONTROLS,
    DATA,
    INDEX,
    RESULT,
    SPLITS,
    classifier_description,
    pretrained_description,
    role_clips,
)
from recitative.experiment.work import make_and_publish
from recitative.learning.baselines import (
    opensmile_functionals,
    opensmile_installed,
    predict_baseline,
)
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES, TransferConfig
from recitative.models.storage import Description
from recitative.params import Params
from recitative.seeding import derive_seed
from recitative.tracking.runs import Run, open_run, parent_run_id, reap
from recitative.vocabulary import MUSIC


@dataclass(frozen=True, eq=False)
class ControlSet:
    """The controls of one music set: what they are made of, and the key of all they depend on."""

    params: Params
    music: str
    transfer: TransferConfig
    description: Description
    missing: dict[str, str]
    key: str

    @staticmethod
    def of(params: Params, music: str) -> "ControlSet":
        """The controls of one language's music."""
        description = classifier_description(params, pretrained_description(params))
        transfer = params.controls.transfer(params.transfer)
        missing = _missing(params.controls.names)
        names = [list(params.controls.names), sorted(missing)]
        key = music_key(params, music, description, transfer.model_dump(mode="json"), names)
        return ControlSet(params, music, transfer, description, missing, key)

    @property
    def out(self) -> Path:
        """Where the stage writes."""
        return CONTROLS / self.music

    @property
    def name(self) -> str:
        """How its work folder is called."""
        return f"controls-{self.music}"

    @property
    def names(self) -> list[str]:
        """What can be run here."""
        return [name for name in self.params.controls.names if name not in self.missing]


def run(params: Params, music: str) -> None:
    """Run every control on one music set, with the repeats of transfer where chance plays a part.

    The other set's are run in the same processes (`compute.ahead`).
    """
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    mine = ControlSet.of(params, music)
    others = [other for other in MUSIC if other != music and params.compute.ahead]
    make_and_publish(mine, (ControlSet.of(params, other) for other in others), _run)
    left_out = (f"{name}: left out: {why}" for name, why in mine.missing.items())
    for line in [*summary_lines(mine.out), *left_out]:
        click.echo(f"none2{music} {line}")


def _run(sets: dict[ControlSet, Path]) -> None:
    """Run the controls of these sets side by side, each into its work folder."""
    reap()
    compute = next(iter(sets)).params.compute
    with ExitStack() as stack:
        parents = {one: stack.enter_context(_parent(one, at)) for one, at in sets.items()}
        # One process a mode and repeat, the longest first: a network from scratch.
        networks = [
            (one, Repeat(one.params, one.transfer, one.description, "none", one.music, (mode,),
                         repeat, None, None, at, parents[one].id))
            for mode in sorted(TRANSFER_MODES, key=lambda mode: mode != "scratch")
            for one, at in sets.items()
            if mode in one.names
            for repeat in range(one.transfer.repeats)
        ]  # fmt: skip
        finished = run_repeats([repeat for _, repeat in networks])
        others = [
            (one, name, repeat)
            for one in sets
            for name in one.names
            if name not in TRANSFER_MODES
            for repeat in range(one.transfer.repeats if name == "stratified" else 1)
        ]
        tasks = [(one.params, one.music, name, n, parents[one].id) for one, name, n in others]
        baselines = in_parallel(_baseline, tasks, compute)
        for one, at in sets.items():
            write_cells(
                at / RESULT,
                one.params,
                one.description,
                one.music,
                [mode for (of, _), modes in zip(networks, finished, strict=True) if of is one
                 for mode in modes],
                parents[one],
                [found for (of, *_), found in zip(others, baselines, strict=True) if of is one],
                key=one.key,
                missing=one.missing,
            )  # fmt: skip


def _parent(one: ControlSet, work: Path) -> AbstractContextManager[Run]:
    """The run that groups a set's."""
    compute = Compute.decide(one.params.compute)
    cell = identity.labels(one.params, compute, "none", one.music, "parent", "all")
    return open_run(
        f"controls none2{one.music} {one.params.pretrain.arch}",
        cell,
        cell | identity.provenance("controls", f"music-{one.music}"),
        parent=parent_run_id(),
        resume=work / "run_id",
        measure=False,
    )


def _missing(names: Sequence[str]) -> dict[str, str]:
    """The controls that cannot be run here, and why; the report says so in their place."""
    if "opensmile_svm" in names and not opensmile_installed():
        why = (
            "opensmile is not installed: `pip install opensmile`, then `dvc repro --force controls`"
        )
        return {"opensmile_svm": why}
    return {}


def _baseline(params: Params, music: str, name: str, repeat: int, parent: str) -> Baseline:
    compute = Compute.decide(params.compute)
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
        parent,
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
