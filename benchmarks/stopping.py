"""Is early stopping fair? What patience and minimum improvement cost in macro F, and save in epochs.

On the music of the present project (after `dvc repro`), its test part never opened: the songs of
training and validation are divided anew, by group, into a part to learn from, one to stop by and one
that is held out. A network is trained to the end once; since the weights of the lowest validation
loss are kept, what any patience would have stopped at, and scored on the held-out songs, can be read
off that one training. Differences are paired over draws of the songs and networks.

    python benchmarks/stopping.py                     the frozen phase, about 10 CPU minutes
    python benchmarks/stopping.py --phase finetune    the finetune phase, longer
    python benchmarks/stopping.py --phase pretrain    pretraining, scored by heads on each epoch's encoder
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.model_selection import GroupShuffleSplit
from torch import nn

from recitative.evaluation.metrics import decide, score, to_song_level
from recitative.experiment.cell import load_encoder
from recitative.experiment.music import classifier_description, load_music
from recitative.experiment.places import PRETRAIN
from recitative.experiment.speech import read_speech
from recitative.files import read_json
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES
from recitative.learning.pretraining import prepare
from recitative.learning.segments import LabelledSegments
from recitative.learning.training import fit
from recitative.learning.transfer import Parts, encode, fit_mode, predict_segments
from recitative.models import encoder_of
from recitative.models.classifier import EmotionClassifier
from recitative.models.storage import build_classifier, build_encoder
from recitative.params import Params, load_params
from recitative.seeding import derive_seed, seed_everything

PATIENCES = (2, 3, 5, 10)
IMPROVEMENTS = (0.0, 0.001, 0.01, 0.03)
FOREVER = {"patience": 0, "keep": "last", "schedule": "constant"}
HELD_OUT, STOPPED_BY = 0.3, 0.15  # of the songs, and of the rest


@dataclass(frozen=True)
class Training:
    """One training to the end: by epoch, validation loss and macro F on held-out songs."""

    losses: list[float]
    scores: list[float]

    def stopped(self, patience: int, improvement: float) -> int:
        """How many epochs are trained, by the rule of `learning.training.fit`."""
        lowest, stale = np.inf, 0
        for epoch, loss in enumerate(self.losses):
            stale = 0 if loss < lowest * (1 - improvement) or epoch == 0 else stale + 1
            lowest = min(lowest, loss)
            if stale >= patience:
                return epoch + 1
        return len(self.losses)

    def score(self, epochs: int) -> float:
        """Of the weights with the lowest validation loss among so many epochs."""
        return self.scores[int(np.argmin(self.losses[:epochs]))]


def train(
    params: Params, music: str, draw: int, phase: str, epochs: int, segments: LabelledSegments,
    codes: np.ndarray, known: np.ndarray,
) -> Training:  # fmt: skip
    """One network on one division of the known songs."""
    parts = _divided(segments, known, draw)
    mode = TRANSFER_MODES["feature_extraction" if phase == "frozen" else "scratch"]
    seed = derive_seed(params.seed, "stopping", music, draw, phase)
    seed_everything(seed)
    model = _classifier(params, music)
    compute = Compute.decide(params.compute)
    forever = getattr(params.transfer, phase).model_copy(update=FOREVER | {"epochs": epochs})
    config = params.transfer.model_copy(update={phase: forever})
    losses, scores = [], []
    cached = codes if phase == "frozen" else None
    for epoch in fit_mode(mode, model, segments, parts, cached, config, compute, seed):
        losses.append(epoch.validation["loss"])
        scores.append(_score(model, segments, parts, compute, cached))
    return Training(losses, scores)


def pretrain(
    params: Params,
    music: str,
    draw: int,
    epochs: int,
    segments: LabelledSegments,
    known: np.ndarray,
) -> Training:
    """One encoder, on the speech of the music's language; heads on it after each epoch."""
    parts = _divided(segments, known, draw)
    seed = derive_seed(params.seed, "stopping", music, draw, "pretrain")
    made = prepare(
        read_speech(f"speech-{music}", params.features), params.pretrain, params.encoder, params.arch,
        seed,
    )  # fmt: skip
    config = made.config.model_copy(update=FOREVER | {"epochs": epochs})
    compute = Compute.decide(params.compute)
    losses, scores = [], []
    for epoch in fit(made.model, made.train, made.validation, config, compute, seed):
        losses.append(epoch.validation["loss"])
        scores.append(_heard(params, music, seed, made.model, segments, parts))
    return Training(losses, scores)


def _heard(
    params: Params, music: str, seed: int, pretrained: nn.Module, segments: LabelledSegments,
    parts: Parts,
) -> float:  # fmt: skip
    """Macro F on the held-out songs of heads on an encoder as it is now."""
    compute = Compute.decide(params.compute)
    seed_everything(seed)
    model = _classifier(params, music)
    model.encoder.load_state_dict(encoder_of(pretrained).state_dict())
    with tempfile.TemporaryDirectory() as folder:
        codes = encode(model, segments, compute, Path(folder) / "codes.npy")
        mode = TRANSFER_MODES["feature_extraction"]
        for _ in fit_mode(mode, model, segments, parts, codes, params.transfer, compute, seed):
            pass  # its own rule of stopping, and its best weights
        return _score(model, segments, parts, compute, codes)


def _classifier(params: Params, music: str) -> EmotionClassifier:
    """Fresh heads on the encoder that the project pretrained on the music's language."""
    description = classifier_description(params, read_json(PRETRAIN / music / "model.json"))
    model = build_classifier(description, build_encoder(description))
    load_encoder(PRETRAIN / music / "model.safetensors", model)
    return model


def _score(
    model: EmotionClassifier, segments: LabelledSegments, parts: Parts, compute: Compute,
    codes: np.ndarray | None,
) -> float:  # fmt: skip
    """Macro F of the quadrants of the held-out songs."""
    told = predict_segments(model, segments, parts.test, compute, codes)
    table = segments.predictions(parts.test, told.astype(np.float64))
    table = table.assign(arch="", transfer_mode="", repeat=0)
    return score(*decide(to_song_level(table), "quadrant"), "quadrant").macro.f1


def _divided(segments: LabelledSegments, known: np.ndarray, draw: int) -> Parts:
    """Learned from, stopped by, held out: by group, of the songs outside of the test part."""
    groups = np.array(segments.groups)[segments.clip[known]]

    def cut(rows: np.ndarray, names: np.ndarray, share: float) -> Iterator[np.ndarray]:
        splitter = GroupShuffleSplit(1, test_size=share, random_state=draw)
        ((first, second),) = splitter.split(rows, groups=names)
        yield from (first, second)

    rest, held = cut(known, groups, HELD_OUT)
    learned, stopped = cut(known[rest], groups[rest], STOPPED_BY)
    return Parts(known[rest][learned], known[rest][stopped], known[held])


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phase", choices=["frozen", "finetune", "pretrain"], default="frozen")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--draws", type=int, default=12, help="a music set")
    given = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(Path("params.yaml"))
    compute = Compute.decide(params.compute)
    trainings = []
    for music in ("eng", "man"):
        segments, (parts, *_) = load_music(params, music)
        known = np.sort(np.concatenate([parts.train, parts.validation]))
        if given.phase == "pretrain":
            trainings += [
                pretrain(params, music, draw, given.epochs, segments, known)
                for draw in range(given.draws)
            ]
            continue
        model = _classifier(params, music)
        with tempfile.TemporaryDirectory() as folder:
            codes = encode(model, segments, compute, Path(folder) / "codes.npy")
            trainings += [
                train(params, music, draw, given.phase, given.epochs, segments, codes, known)
                for draw in range(given.draws)
            ]
    config = params.pretrain if given.phase == "pretrain" else getattr(params.transfer, given.phase)
    _print(trainings, given.phase, given.epochs, config.learning_rate)


def _print(trainings: list[Training], phase: str, epochs: int, rate: float | None) -> None:
    whole = np.array([one.score(epochs) for one in trainings])
    print(
        f"The {phase} phase, {len(trainings)} trainings of {epochs} epochs, learning rate "
        f"{rate}; held-out macro F without stopping {whole.mean():.3f}:\n\n"
        "| patience | minimum improvement | epochs trained | difference, points | 95 % interval |\n"
        "|---|---|---|---|---|"
    )
    for patience in PATIENCES:
        for improvement in IMPROVEMENTS:
            spent = np.array([one.stopped(patience, improvement) for one in trainings])
            found = np.array(
                [one.score(n) for one, n in zip(trainings, spent.tolist(), strict=True)]
            )
            lost = 100 * (found - whole)
            error = stats.sem(lost)
            half = float(stats.t.ppf(0.975, len(lost) - 1) * error)
            print(
                f"| {patience} | {improvement:g} | {spent.mean() / epochs:.0%} | {lost.mean():+.1f} "
                f"| [{lost.mean() - half:+.1f}, {lost.mean() + half:+.1f}] |"
            )


if __name__ == "__main__":
    main()
