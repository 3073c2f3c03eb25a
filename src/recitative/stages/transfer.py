"""`recitative transfer PAIRING`: a pretrained encoder to music -> build/transfer/<pairing>/."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from recitative.corpora.certificate import require_clean
from recitative.experiment import labels as identity
from recitative.experiment.cell import Repeat, load_encoder, load_music, music_key, run_repeats
from recitative.experiment.outputs import summary_lines, write_cells
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import (
    INDEX,
    PRETRAIN,
    RESULT,
    SPLITS,
    TRANSFER,
    classifier_description,
)
from recitative.experiment.work import make_and_publish
from recitative.files import read_json
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES
from recitative.learning.transfer import encode
from recitative.models.storage import Description, build_classifier, build_encoder
from recitative.params import Params
from recitative.tracking.runs import Run, open_run, parent_run_id, reap
from recitative.vocabulary import PAIRINGS

CODES = "codes.npy"


@dataclass(frozen=True, eq=False)
class Cell:
    """One pairing: what it is made of, and the key of all that its result depends on."""

    pairing: str
    speech: str
    music: str
    description: Description
    weights: Path
    key: str

    @staticmethod
    def of(params: Params, pairing: str) -> "Cell":
        """The cell of a pairing whose pretrained model is there."""
        speech, music = pairing.split("2")
        weights = PRETRAIN / speech / "model.safetensors"
        description = classifier_description(params, read_json(PRETRAIN / speech / "model.json"))
        transfer = params.transfer.model_dump(mode="json")
        key = music_key(params, music, description, transfer, weights)
        return Cell(pairing, speech, music, description, weights, key)

    @property
    def out(self) -> Path:
        """Where the stage writes."""
        return TRANSFER / self.pairing

    @property
    def name(self) -> str:
        """How its work folder is called."""
        return f"transfer-{self.pairing}"


def run(params: Params, pairing: str) -> None:
    """Train every mode, every repeat; write the test predictions and the best repeat's weights.

    The pairings that are still to come are trained in the same processes.
    """
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    cell = Cell.of(params, pairing)
    make_and_publish(cell, _others(params, cell), partial(_train, params))
    for line in summary_lines(cell.out):
        click.echo(f"{pairing} {line}")


def _train(params: Params, cells: dict[Cell, Path]) -> None:
    """Train these cells side by side, each into its work folder."""
    reap()
    with ExitStack() as stack:
        parents = {one: stack.enter_context(_parent(params, one, at)) for one, at in cells.items()}
        in_parallel(
            _encode,
            [(params, one, at) for one, at in cells.items() if not (at / CODES).exists()],
            params.compute,
        )
        repeats = {
            one: [
                _repeat(params, one, at, parents[one], repeat)
                for repeat in range(params.transfer.repeats)
            ]
            for one, at in cells.items()
        }
        finished = iter(run_repeats([each for some in repeats.values() for each in some]))
        for one, at in cells.items():
            mine = [done for _ in repeats[one] for done in next(finished)]
            write_cells(
                at / RESULT, params, one.description, one.music, mine, parents[one], key=one.key
            )


def _others(params: Params, cell: Cell) -> Iterator[Cell]:
    """The other pairings whose pretrained model is there."""
    for pairing in PAIRINGS if params.compute.ahead else ():
        if pairing != cell.pairing and (PRETRAIN / pairing[:3] / "model.json").exists():
            yield Cell.of(params, pairing)


def _parent(params: Params, cell: Cell, work: Path) -> AbstractContextManager[Run]:
    """The run that groups a cell's."""
    compute = Compute.decide(params.compute)
    labels = identity.labels(params, compute, cell.speech, cell.music, "parent", "all")
    return open_run(
        f"transfer {cell.pairing} {cell.description['arch']}",
        labels,
        labels | identity.provenance("transfer", f"music-{cell.music}"),
        parent=parent_run_id(),
        resume=work / "run_id",
        measure=False,
    )


def _encode(params: Params, cell: Cell, work: Path) -> None:
    """Compute the codes that all repeats of a cell share."""
    codes = work / CODES
    segments, _ = load_music(params, cell.music)
    model = build_classifier(cell.description, build_encoder(cell.description))
    load_encoder(cell.weights, model)
    partial = codes.with_suffix(".partial.npy")
    encode(model.encoder, segments, Compute.decide(params.compute), partial)
    partial.rename(codes)


def _repeat(params: Params, cell: Cell, work: Path, parent: Run, repeat: int) -> Repeat:
    wanted = _with_before(params.transfer.modes)
    return Repeat(
        params,
        params.transfer,
        cell.description,
        cell.speech,
        cell.music,
        tuple(name for name in TRANSFER_MODES if name in wanted),
        repeat,
        cell.weights,
        work / CODES,
        work,
        parent.id,
    )


def _with_before(modes: tuple[str, ...]) -> set[str]:
    """The modes and those that they go on from."""
    return {*modes} | {before for mode in modes if (before := TRANSFER_MODES[mode].after)}
