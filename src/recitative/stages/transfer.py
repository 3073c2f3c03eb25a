"""`recitative transfer PAIRING`: a pretrained encoder to music -> build/transfer/<pairing>/."""

import click

from recitative.corpora.certificate import require_clean
from recitative.files import read_json
from recitative.learning.compute import Compute
from recitative.learning.transfer import TRANSFER_MODES, encode
from recitative.models.storage import build_classifier, build_encoder
from recitative.params import Params
from recitative.stages import identity
from recitative.stages.cells import Repeat, load_encoder, load_music, run_repeats
from recitative.stages.outputs import write_cells
from recitative.stages.workspace import (
    FEATURES,
    INDEX,
    PRETRAIN,
    SPLITS,
    TRANSFER,
    classifier_description,
    content_key,
    workers,
    working,
)
from recitative.tracking.runs import parent_run_id, reap
from recitative.tracking.runs import run as open_run


def run(params: Params, pairing: str) -> None:
    """Train every mode, every repeat; write the test predictions and the best repeat's weights."""
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    reap()
    speech, music = pairing.split("2")
    pretrained, role = PRETRAIN / speech, f"music-{music}"
    compute = Compute.decide(params.compute)
    description = classifier_description(params, read_json(pretrained / "model.json"))
    weights = pretrained / "model.safetensors"
    key = content_key(
        description,
        params.transfer.model_dump(mode="json"),
        weights,
        FEATURES / role / "features.json",
        SPLITS / f"{role}.csv",
        INDEX / f"{role}.csv",
        [params.seed, str(compute), params.split.model_dump(mode="json")],
    )
    modes = tuple(name for name in TRANSFER_MODES if name in _with_before(params.transfer.modes))
    cell = identity.labels(params, compute, speech, music, "parent", "all")
    with (
        working(f"transfer-{pairing}", key) as work,
        open_run(
            f"transfer {pairing} {description['arch']}",
            cell,
            cell | identity.provenance("transfer", role),
            parent=parent_run_id(),
            resume=work / "run_id",
        ) as parent,
    ):
        codes = work / "codes.npy"
        if not codes.exists():
            segments, _ = load_music(params, music)
            model = build_classifier(description, build_encoder(description))
            load_encoder(weights, model)
            partial = codes.with_suffix(".partial.npy")
            encode(model.encoder, segments, compute, partial)
            partial.rename(codes)
        repeats = [
            Repeat(params, params.transfer, description, speech, music, modes, repeat, weights,
                   codes, work, parent.id)
            for repeat in range(params.transfer.repeats)
        ]  # fmt: skip
        finished = run_repeats(repeats, workers(params.compute))
        summary = write_cells(TRANSFER / pairing, params, description, music, finished, parent)
    for line in summary:
        click.echo(f"{pairing} {line}")


def _with_before(modes: tuple[str, ...]) -> set[str]:
    """The modes and those that they go on from."""
    return {*modes} | {before for mode in modes if (before := TRANSFER_MODES[mode].after)}
