"""Does emotional speech help? One real corpus of it, tava, to real piano music with human quadrants.

Every encoder is pretrained on as many minutes of English speech: on tava with its labels, on tava with
its labels permuted, and by SCAE and CPC on LibriSpeech, whose utterances are long enough for CPC. The
frozen encoder's codes are pooled over time (mean and deviation), and the classifier's default head is
trained on them in grouped folds, so that every song is tested once. The random encoder has the music's
mel statistics and batch-norm statistics. `log-mel` has no encoder: mean and deviation of each band.

    python benchmarks/emotional_speech.py --data FOLDER --seeds 2

FOLDER holds tava, LibriSpeech and MER_audio_taffc_dataset.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from recitative.corpora.balance import balance, total_seconds
from recitative.corpora.base import IndexedClip, parse_dataset_config
from recitative.corpora.indexing import index_role
from recitative.corpora.splits import parts_for_fold, split_role
from recitative.evaluation.metrics import decide, score, to_song_level
from recitative.experiment.cell import label
from recitative.features.extraction import extract
from recitative.features.store import FeatureStore, band_statistics
from recitative.learning.compute import Compute
from recitative.learning.config import TRANSFER_MODES
from recitative.learning.emotions import emotion_codes
from recitative.learning.pretraining import Speech, prepare
from recitative.learning.segments import LabelledSegments
from recitative.learning.training import fit
from recitative.learning.transfer import (
    EVALUATION_BATCH,
    Parts,
    calibrate,
    fit_mode,
    predict_segments,
)
from recitative.models import architecture, build_model, encoder_of
from recitative.models.classifier import EmotionClassifier, TimePooling
from recitative.models.encoder import ConvEncoder
from recitative.params import Params, load_params
from recitative.seeding import derive_seed, seed_everything

SECTIONS = {
    "emotion-eng": {"adapter": "tava", "folder": "tava"},
    "speech-eng": {"adapter": "librispeech", "folder": "LibriSpeech"},
    "music-eng": {"adapter": "emotion_4q", "folder": "MER_audio_taffc_dataset"},
}
ENCODERS = ("emotion", "shuffled_emotions", "random", "scae", "cpc")


class Ready(nn.Module):
    """In the place of an encoder whose pooled codes, (B, F), are there already."""

    def __init__(self, features: int):
        super().__init__()
        self.code_shape = (features, 1)


def corpus(
    role: str, data: Path, folder: Path, params: Params, hours: float | None
) -> tuple[list[IndexedClip], FeatureStore]:
    """The clips and the features of a role, of so many hours."""
    section = parse_dataset_config(role, SECTIONS[role] | {"language": "eng"})
    clips = index_role(role, section, data, 1, params.emotions).clips
    clips, _ = balance(role, clips, hours, 0.01, params.seed)
    extract(clips, data, params.features, folder / role)
    return clips, FeatureStore.open(folder / role)


def speech_of(
    role: str, clips: Sequence[IndexedClip], store: FeatureStore, params: Params
) -> Speech:
    """A role's speech, its speakers in one part each."""
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for row in split_role(role, clips, params.split, params.seed):
        parts[row.split].append(row.id)
    labels = {c.id: emotion_codes(c.quadrant, c.arousal, c.valence) for c in clips}
    return Speech(store, parts, params.features.segment_frames, params.features.segment_hop, labels)


@torch.no_grad()
def pooled(encoder: ConvEncoder, music: LabelledSegments) -> np.ndarray:
    """Mean and deviation over time of every segment's code, (N, F)."""
    encoder.eval()
    pool, found = TimePooling(), []
    for rows in np.array_split(
        np.arange(len(music.start)), -(-len(music.start) // EVALUATION_BATCH)
    ):
        with torch.autocast("cpu", torch.bfloat16):
            code: Tensor = encoder(music.x(rows).contiguous(memory_format=torch.channels_last))
        found.append(pool(code.float()).numpy())
    return np.concatenate(found)


def macro_f(
    codes: np.ndarray, music: LabelledSegments, folds: Sequence[Parts], params: Params, seed: int
) -> float:
    """Quadrant macro F over all songs, each predicted by the fold that did not see it."""
    compute, tables = Compute(torch.device("cpu"), bf16=False), []
    for fold, parts in enumerate(folds):
        seed_everything(derive_seed(seed, "head", fold))
        stub: Any = Ready(codes.shape[1])
        model = EmotionClassifier(stub, "pooled", params.transfer.classifier)
        mode = TRANSFER_MODES["feature_extraction"]
        for _ in fit_mode(mode, model, music, parts.refit, codes, params.transfer, compute, seed):
            pass
        predicted = predict_segments(model, music, parts.test, compute, codes)
        table = music.predictions(parts.test, predicted.astype(np.float64))
        tables.append(label(table, "-", "-", 0, fold))
    songs = to_song_level(pd.concat(tables, ignore_index=True))
    return float(score(*decide(songs, "quadrant"), "quadrant").macro.f1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    parser.add_argument("--epochs", type=int, default=10, help="of each pretraining")
    parser.add_argument("--filters", type=int, nargs=3, default=[32, 64, 128])
    parser.add_argument("--music-hop", type=int, default=45, help="frames between music segments")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params()
    encoder_config = params.encoder.model_copy(update={"filters": tuple(chosen.filters)})
    pretrain = params.pretrain.model_copy(update={"epochs": chosen.epochs, "batch_size": 32})
    features = params.features
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        acted, store = corpus("emotion-eng", chosen.data, folder, params, None)
        hours = total_seconds(acted) / 3600
        read, read_store = corpus("speech-eng", chosen.data, folder, params, hours)
        songs, song_store = corpus("music-eng", chosen.data, folder, params, None)
        speech = {
            "emotion": speech_of("emotion-eng", acted, store, params),
            "speech": speech_of("speech-eng", read, read_store, params),
        }
        music = LabelledSegments.load(song_store, songs, features.segment_frames, chosen.music_hop)
        split = params.split.model_copy(update={"scheme": "grouped_folds"})
        rows = split_role("music-eng", songs, split, params.seed)
        drawn = [
            parts_for_fold("music-eng", rows, songs, fold, split, params.seed)
            for fold in range(split.folds)
        ]
        folds = [
            Parts(*(music.of(r.id for r in fold if r.split == part)
                    for part in ("train", "validation", "test")))
            for fold in drawn
        ]  # fmt: skip
        minutes = 60 * hours
        print(
            f"{len(acted)} clips of tava, {minutes:.1f} min; {len(read)} of LibriSpeech, "
            f"{total_seconds(read) / 60:.1f} min; {len(songs)} songs, {len(music.start)} segments"
        )
        frames = music.x(np.arange(len(music.start))).numpy()[:, 0]
        plain = np.concatenate([frames.mean(2), frames.std(2)], 1)
        plain = (plain - plain.mean(0)) / plain.std(0)
        for seed in range(1, chosen.seeds + 1):
            print(
                f"log-mel | {seed} | | {macro_f(plain, music, folds, params, seed):.3f}", flush=True
            )
            for arch in chosen.encoders:
                began = time.process_time()
                section = getattr(params, architecture(arch).section) if arch != "random" else None
                if section is None:
                    seed_everything(derive_seed(seed, "random"))
                    encoder = encoder_of(
                        build_model("scae", encoder_config, params.scae, features.n_mels,
                                    features.segment_frames)
                    )  # fmt: skip
                    statistics = band_statistics(song_store, [clip.id for clip in songs])
                    encoder.standardize.set(*(torch.from_numpy(one) for one in statistics))
                    every = np.arange(0, len(music.start), 4)
                    calibrate(encoder, music, every, Compute(torch.device("cpu"), bf16=False))
                    said = ""
                else:
                    config = pretrain.model_copy(update={"arch": arch})
                    made = prepare(
                        speech[architecture(arch).speech], config, encoder_config, section,
                        derive_seed(seed, "pretrain", architecture(arch).section),
                    )  # fmt: skip
                    compute = Compute(torch.device("cpu"), bf16=True)
                    fitted = fit(
                        made.model, made.train, made.validation, made.config, compute, seed
                    )
                    epochs = list(fitted)
                    best = [epoch for epoch in epochs if epoch.best][-1]
                    shown = best.validation.get("accuracy", best.validation["loss"])
                    said = f"{shown:.3f} at epoch {best.index + 1}"
                    encoder = encoder_of(made.model)
                codes = pooled(encoder, music)
                found = macro_f(codes, music, folds, params, seed)
                took = time.process_time() - began
                print(f"{arch} | {seed} | {said} | {found:.3f} | {took:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
