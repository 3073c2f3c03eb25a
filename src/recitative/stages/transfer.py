"""`recitative transfer PAIRING`: a pretrained encoder to music -> build/transfer/<pairing>/."""

from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path

import click

from recitative.corpora.certificate import require_clean
from recitative.experiment import repeats
from recitative.experiment.cell import load_encoder
from recitative.experiment.music import classifier_description, load_music
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import INDEX, PRETRAIN, SPLITS
from recitative.experiment.repeats import Repeat
from recitative.experiment.work import RESULT, Work, publish_stage
from recitative.files import read_json
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES
from recitative.learning.transfer import encode
from recitative.models.storage import Description, build_classifier, build_encoder
from recitative.params import Params
from recitative.tracking.runs import Run, reap
from recitative.vocabulary import PAIRINGS

CODES = "codes.npy"


def run(params: Params, pairing: str) -> None:
    """Train every mode and repeat of a pairing; write test predictions and weights.

    The pairings that are still to come are trained in the same processes (`compute.ahead`).
    """
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    others = [one for one in PAIRINGS if one != pairing and _weights(one).exists()]
    out = publish_stage(params, "transfer", pairing, others, partial(_train, params))
    for line in repeats.summary_lines(out):
        click.echo(f"{pairing} {line}")


def _train(params: Params, works: dict[str, Work]) -> None:
    """Train these pairings side by side, each into its work folder."""
    reap()
    with ExitStack() as stack:
        parents = {
            pairing: stack.enter_context(
                repeats.parent_run(params, "transfer", pairing, work.folder)
            )
            for pairing, work in works.items()
        }
        uncoded = [
            (params, pairing, work.folder / CODES)
            for pairing, work in works.items()
            if not (work.folder / CODES).exists()
        ]
        in_parallel(_encode, uncoded, params.compute)
        count = params.transfer.repeats
        finished = repeats.run_repeats(
            [
                _repeat(params, pairing, work.folder, parents[pairing], repeat)
                for pairing, work in works.items()
                for repeat in range(count)
            ]
        )
        for number, (pairing, work) in enumerate(works.items()):
            mine = chain.from_iterable(finished[number * count : (number + 1) * count])
            repeats.write_cells(
                work.folder / RESULT, params, _description(params, pairing), pairing.split("2")[1],
                list(mine), parents[pairing], key=work.key,
            )  # fmt: skip


def _weights(pairing: str) -> Path:
    return PRETRAIN / pairing.split("2")[0] / "model.safetensors"


def _description(params: Params, pairing: str) -> Description:
    return classifier_description(params, read_json(_weights(pairing).with_suffix(".json")))


def _encode(params: Params, pairing: str, codes: Path) -> None:
    """Compute the codes that all repeats of a pairing share."""
    segments, _ = load_music(params, pairing.split("2")[1])
    description = _description(params, pairing)
    model = build_classifier(description, build_encoder(description))
    load_encoder(_weights(pairing), model)
    partial_codes = codes.with_suffix(".partial.npy")
    encode(model, segments, Compute.decide(params.compute), partial_codes)
    partial_codes.rename(codes)


def _repeat(params: Params, pairing: str, work: Path, parent: Run, repeat: int) -> Repeat:
    modes = params.transfer.modes
    wanted = {*modes} | {before for mode in modes if (before := TRANSFER_MODES[mode].after)}
    speech, music = pairing.split("2")
    return Repeat(
        params, params.transfer, _description(params, pairing), speech, music,
        tuple(name for name in TRANSFER_MODES if name in wanted), repeat, _weights(pairing),
        work / CODES, work, parent.id,
    )  # fmt: skip
