"""What heads and schedules gain and lose, on the frozen codes of real music, paired song by song.

Every song is tested once, in folds by group. A seed draws the folds, the networks and the random
encoder; the codes of an encoder are computed once, its statistics are those of speech, so that no
fold's test songs are in them. All rows of one encoder and seed have the same folds and codes.

    python benchmarks/heads.py CACHE            in a project with features and splits of four roles
    python benchmarks/heads.py CACHE --table    the table of what has been trained so far
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recitative.corpora.indexing import read_index
from recitative.corpora.splits import parts_for_fold, split_role
from recitative.evaluation.contrasts import contrast, pair
from recitative.evaluation.metrics import macro_f1_from_confusion
from recitative.experiment.music import load_music
from recitative.experiment.places import INDEX
from recitative.experiment.speech import pretrained_description, read_speech
from recitative.features.store import band_statistics
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES, TransferConfig
from recitative.learning.pretraining import prepare
from recitative.learning.segments import LabelledSegments
from recitative.learning.training import fit
from recitative.learning.transfer import (
    Parts,
    calibrate,
    encode,
    fit_mode,
    predict_segments,
    spread,
)
from recitative.models import encoder_of
from recitative.models.classifier import EmotionClassifier
from recitative.models.encoder import ConvEncoder
from recitative.models.storage import build_encoder
from recitative.params import Params, load_params
from recitative.seeding import derive_rng, derive_seed, seed_everything

FROZEN = TRANSFER_MODES["feature_extraction"]
TASKS = ("quadrant", "arousal", "valence")
EARLY = {"epochs": 8, "patience": 3, "keep": "best", "schedule": "constant"}
FIXED = {"epochs": 8, "patience": 0, "keep": "last", "schedule": "cosine"}


@dataclass(frozen=True)
class Row:
    """One way to train heads."""

    head: str
    standardize: bool
    frozen: dict[str, Any]
    refit: bool = False
    repeats: int = 3

    def config(self, base: TransferConfig) -> TransferConfig:
        """`base` with this row's settings."""
        values = base.model_dump(mode="json")
        values["head"], values["refit"] = self.head, self.refit
        values["classifier"]["standardize"] = self.standardize
        values["frozen"] |= self.frozen | {"batch_size": 64, "learning_rate": 0.001}
        return TransferConfig.model_validate(values)


ROWS = {
    "flatten, early stopping": Row("flatten", False, EARLY, repeats=1),
    "pooled, early stopping": Row("pooled", False, EARLY),
    "pooled, standardised, early stopping": Row("pooled", True, EARLY),
    "pooled, standardised, 8 epochs to a rate of 0": Row("pooled", True, FIXED),
    "the same, on train + validation": Row("pooled", True, FIXED, refit=True),
    "song, on train + validation": Row("song", True, FIXED, refit=True),
}
OLD = "flatten, early stopping"
SETS = {"eng": "4Q layout", "man": "CH-818 layout"}


def pretrained(params: Params, cache: Path, epochs: int) -> ConvEncoder:
    """SCAE's encoder after some epochs on all English speech there is."""
    from recitative.models.storage import load_weights, save_weights

    made = prepare(
        read_speech("speech-eng", params.features), params.pretrain, params.encoder, params.arch, 1
    )
    path = cache / "scae.safetensors"
    if not path.exists():
        config = made.config.model_copy(update={"epochs": epochs, "patience": 0})
        for epoch in fit(
            made.model, made.train, made.validation, config, Compute.decide(params.compute), 1
        ):
            print(f"pretraining, epoch {epoch.index}: {epoch.validation['loss']:.4f}", flush=True)
        save_weights(path, made.model)
    load_weights(path, made.model)
    return encoder_of(made.model)


def drawn(params: Params, seed: int) -> ConvEncoder:
    """A random encoder with the statistics of English speech."""
    seed_everything(seed)
    encoder = build_encoder(pretrained_description(params))
    speech = read_speech("speech-eng", params.features)
    clips = list(speech.parts["train"])
    encoder.standardize.set(*map(torch.from_numpy, band_statistics(speech.store, clips)))
    cut = speech.store.segments(clips, speech.frames, speech.hop)
    none = np.zeros(len(clips), np.int64)
    heard = LabelledSegments(speech.store, speech.frames, clips, clips, none, cut.start, cut.clip)
    calibrate(encoder, heard, spread(np.arange(len(cut.start))), Compute.decide(params.compute))
    return encoder


def folds_of(params: Params, music: str, segments: LabelledSegments, seed: int) -> Iterator[Parts]:
    """The parts of each fold, as `recitative split` would draw them with this seed."""
    role = f"music-{music}"
    clips = [clip for clip in read_index(INDEX, role) if clip.id in set(segments.clips)]
    split = params.split.model_copy(update={"scheme": "grouped_folds"})
    rows = split_role(role, clips, split, seed)
    for fold in range(split.folds):
        parted = parts_for_fold(role, rows, clips, fold, split, seed)
        yield Parts(
            *(
                segments.of(row.id for row in parted if row.split == part)
                for part in ("train", "validation", "test")
            )
        )


def songs(segments: LabelledSegments, part: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """The mean answer of each song."""
    names = ["q1", "q2", "q3", "q4", "arousal", "valence"]
    return (
        segments.predictions(part, predicted)
        .groupby(["clip", "quadrant"], as_index=False)[names]
        .mean()
    )


def run(params: Params, cache: Path, music: str, name: str, row: str, seed: int) -> float:
    """Train one row on one encoder's codes of one set, in all folds; the seconds it took."""
    one, started = ROWS[row], time.perf_counter()
    config, compute = one.config(params.transfer), Compute.decide(params.compute)
    segments, _ = load_music(params, music)
    codes = np.load(cache / f"{name}-{music}.{'flatten' if one.head == 'flatten' else 'pooled'}.npy",
                    mmap_mode="r")  # fmt: skip
    encoder = build_encoder(pretrained_description(params))
    for repeat in range(one.repeats):
        tables = []
        for fold, parts in enumerate(folds_of(params, music, segments, seed)):
            seed_everything(derive_seed(seed, "heads", music, repeat, fold))
            model = EmotionClassifier(encoder, config.head, config.classifier)
            learned = parts.refit if one.refit else parts
            for _ in fit_mode(
                FROZEN, model, segments, learned, codes, config, compute, seed + repeat
            ):
                pass
            told = predict_segments(model, segments, parts.test, compute, codes)
            tables.append(songs(segments, parts.test, told.astype(np.float64)))
        pd.concat(tables).to_csv(cache / f"{music}.{name}.{row}.{seed}.{repeat}.csv", index=False)
    return time.perf_counter() - started


def decisions(table: pd.DataFrame, task: str) -> np.ndarray:
    """The decided class of each song, (S,)."""
    if task == "quadrant":
        chosen: np.ndarray = table[["q1", "q2", "q3", "q4"]].to_numpy().argmax(1)
        return chosen
    return (table[task].to_numpy() > 0.5).astype(np.int64)


def table(cache: Path, music: str, kind: str, seeds: list[int]) -> str:
    """The rows of one set and one kind of encoder, as markdown."""
    found: dict[str, dict[int, list[pd.DataFrame]]] = {}
    for path in sorted(cache.glob(f"{music}.{kind}*.csv")):
        _, _, row, seed, _ = path.name.split(".")[:5]
        if int(seed) not in seeds:
            continue
        read = pd.read_csv(path).sort_values("clip", ignore_index=True)
        found.setdefault(row, {}).setdefault(int(seed), []).append(read)
    lines = []
    for row in (row for row in ROWS if row in found):
        cells = [f"{row} ({len(found[row])} × {len(next(iter(found[row].values())))})"]
        for task, classes in zip(TASKS, (4, 2, 2), strict=True):
            first = next(iter(found[row].values()))[0]
            true = first["quadrant"].str[1].astype(int).to_numpy() - 1
            true = {"quadrant": true, "arousal": true < 2, "valence": (true == 0) | (true == 3)}[
                task
            ]

            def f1(
                one: pd.DataFrame, true: Any = true, task: str = task, classes: int = classes
            ) -> float:
                at = np.asarray(true, np.int64) * classes + decisions(one, task)
                counted = np.bincount(at, minlength=classes**2).reshape(classes, classes)
                return float(macro_f1_from_confusion(counted))

            singles = [f1(one) for of in found[row].values() for one in of]
            mean = [pd.concat(of).groupby("clip", as_index=False).mean(numeric_only=True)
                    for of in found[row].values()]  # fmt: skip
            cells.append(f"{np.mean(singles):.3f}")
            if task == "quadrant":
                cells.append(f"{np.mean([f1(one) for one in mean]):.3f}")
                of_task = np.asarray(true, np.int64)
        shared = [seed for seed in found[row] if seed in found.get(OLD, {})]
        if row != OLD and shared:
            a, b = (
                np.array([decisions(one, "quadrant") for seed in shared for one in found[r][seed]])
                for r in (row, OLD)
            )
            gap = contrast(pair(of_task, a, b), 4, derive_rng(1, "heads", row), draws=1000)
            cells.append(f"{gap.value:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]")
        else:
            cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    heading = f"| {SETS[music]}, {kind} | quadrant | ensemble | arousal | valence | less the old |"
    return "\n".join([heading, "|---|---|---|---|---|---|", *lines])


def main() -> None:
    """Train what is not in the cache yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument(
        "--encoders", nargs="+", choices=["scae", "random"], default=["scae", "random"]
    )
    parser.add_argument("--epochs", type=int, default=4, help="of the pretraining")
    given = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(Path("params.yaml"))
    given.cache.mkdir(parents=True, exist_ok=True)
    if not given.table:
        for seed, kind, music in itertools.product(given.seeds, given.encoders, SETS):
            name = kind if kind == "scae" else f"random{seed}"
            for head in dict.fromkeys(
                "flatten" if "flatten" in row else "pooled" for row in given.rows
            ):
                out = given.cache / f"{name}-{music}.{head}.npy"
                if not out.exists():
                    encoder = (
                        pretrained(params, given.cache, given.epochs)
                        if kind == "scae"
                        else drawn(params, seed)
                    )
                    model = EmotionClassifier(encoder, head, params.transfer.classifier)
                    part = out.with_suffix(".part.npy")
                    encode(
                        model, load_music(params, music)[0], Compute.decide(params.compute), part
                    )
                    part.rename(out)
            for row in given.rows:
                last = given.cache / f"{music}.{name}.{row}.{seed}.{ROWS[row].repeats - 1}.csv"
                if not last.exists():
                    took = run(params, given.cache, music, name, row, seed)
                    print(f"{music} {name} {seed} {row}: {took:.0f} s", flush=True)
    for music, kind in itertools.product(SETS, given.encoders):
        print(f"\n{table(given.cache, music, kind, given.seeds)}")


if __name__ == "__main__":
    main()
