"""`recitative pretrain LANGUAGE`: self-supervised training on speech -> build/pretrain/<language>/."""

import click
import torch
from tqdm import tqdm

from recitative.corpora.certificate import require_clean
from recitative.files import atomic_folder, write_csv, write_json
from recitative.learning.checkpoint import Checkpoint
from recitative.learning.compute import Compute
from recitative.learning.pretraining import prepare
from recitative.learning.training import fit
from recitative.models.storage import describe, save_weights
from recitative.params import Params
from recitative.reports.figures import history_figure
from recitative.seeding import derive_seed
from recitative.stages import identity
from recitative.stages.searched import with_best
from recitative.stages.speech import read_speech
from recitative.stages.workspace import INDEX, PRETRAIN, SPLITS, content_key, working
from recitative.tracking.runs import parent_run_id, reap
from recitative.tracking.runs import run as open_run


def run(params: Params, language: str) -> None:
    """Train on the speech of one language; the chosen epoch's weights are written."""
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    reap()
    params, found = with_best(params)
    torch.set_num_threads(params.compute.threads)
    compute = Compute.decide(params.compute)
    arch, role = params.pretrain.arch, f"speech-{language}"
    features = params.features
    description = describe(
        arch, params.encoder, params.arch, features.n_mels, features.segment_frames
    )
    seed = derive_seed(params.seed, "pretrain", arch, language)
    speech = read_speech(role, features)
    made = prepare(speech, params.pretrain, params.encoder, params.arch, seed)
    config = made.config
    click.echo(f"{arch} on {role}: {made.train.count} training examples, {compute}")
    key = content_key(
        description,
        config.model_dump(),
        [seed, speech.frames, speech.hop, str(compute), identity.feature_hash(role)],
        SPLITS / f"{role}.csv",
    )
    cell = identity.labels(params, compute, language, "none", "pretrain", 0)
    history = []
    with (
        working(f"pretrain-{arch}-{language}", key) as work,
        open_run(
            f"pretrain {arch} {language}",
            identity.run_params(params, cell, "pretrain", arch, "encoder", "features", "balance"),
            cell | identity.provenance("pretrain", role) | found,
            [identity.inputs(role, "training")],
            parent_run_id(),
            work / "run_id",
        ) as tracked,
        atomic_folder(PRETRAIN / language) as folder,
    ):
        checkpoint = Checkpoint(work / "checkpoint.safetensors", params.compute.checkpoint_seconds)
        epochs = fit(made.model, made.train, made.validation, config, compute, seed, checkpoint)
        for epoch in tqdm(epochs, f"pretrain {arch} {language}", config.epochs, disable=None):
            history.append(epoch.row())
            tracked.log_metrics(epoch.metrics(), step=epoch.index)
        kept = [row for row in history if row["best"] or config.keep == "last"][-1]
        tracked.log_metrics({f"final_{name}": value for name, value in kept.items()})
        save_weights(folder / "model.safetensors", made.model)
        write_json(folder / "model.json", description | {"language": language})
        write_csv(folder / "history.csv", list(history[0]), history)
        write_json(folder / "metrics.json", kept | {"epochs": len(history)})
        write_json(folder / "run.json", {"run_id": tracked.id})
        tracked.log_figure(history_figure(history), "history.png")
        for name in ("history.csv", "model.json"):
            tracked.log_artifact(folder / name)
