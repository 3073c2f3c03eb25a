"""From files to log-mel frames, beside librosa's own pipeline; equal to 1e-4."""

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile

from benchmarks.rounds import Cost, Row, compare, interleave, timed
from recitative.audio import load_audio, peak_normalize
from recitative.features.mel import FeatureConfig, log_mel

SECONDS = 30
FILES = 4  # of each format
FORMATS = {"WAV": (16000, 1, 2.5), "FLAC": (16000, 1, 2.0), "MP3": (44100, 2, 1.8)}  # Hz, channels


def song(rate: int, channels: int, seed: int) -> np.ndarray:
    """Gliding harmonics that come and go over noise: something for a decoder to do."""
    rng = np.random.default_rng(seed)
    t = np.arange(SECONDS * rate) / rate
    sound = 0.02 * rng.standard_normal((len(t), channels))
    for harmonic in range(1, 12):
        phase = 2 * np.pi * harmonic * (110 + 30 * seed) * (t + 0.02 * np.sin(2 * np.pi * t))
        swell = 1 + np.sin(2 * np.pi * t * rng.uniform(0.5, 3))
        sound += (swell * np.sin(phase) / harmonic)[:, None] * rng.uniform(0.5, 1, channels)
    return 0.9 * sound / np.abs(sound).max()


def reference(path: Path) -> np.ndarray:
    """As released: librosa throughout."""
    samples, _ = librosa.load(path, sr=16000)
    return reference_kernel(librosa.util.normalize(samples))


def reference_kernel(samples: np.ndarray) -> np.ndarray:
    """Magnitude STFT of a 1024 window zero-padded to 2048, 128 mel bands, natural log; (T, 128)."""
    mel = librosa.feature.melspectrogram(
        y=samples, sr=16000, n_fft=2048, win_length=1024, hop_length=512, power=1, n_mels=128
    )
    return np.log(mel + np.finfo(np.float32).eps).T


def measure(rounds: int, folder: Path) -> tuple[list[Row], dict[str, float]]:
    """The kernel alone, then files of three formats."""
    config = FeatureConfig()
    samples = peak_normalize(np.asarray(song(16000, 1, 0)[:, 0], np.float32))
    error = float(np.abs(log_mel(samples, config) - reference_kernel(samples)).max())
    costs = interleave(
        {
            "ours": lambda: timed(lambda: [log_mel(samples, config) for _ in range(FILES)]),
            "librosa": lambda: timed(lambda: [reference_kernel(samples) for _ in range(FILES)]),
        },
        rounds,
    )
    rows = [compare(costs, "ours", "librosa", FILES, "log-mel kernel", "librosa", "30 s", 2.4)]
    numbers = {"log-mel kernel, largest difference to librosa": error}
    for name, (rate, channels, target) in FORMATS.items():
        paths = [folder / f"{seed}.{name.lower()}" for seed in range(FILES)]
        for seed, path in enumerate(paths):
            soundfile.write(path, song(rate, channels, seed), rate)

        def side(frames_of: Callable[[Path], np.ndarray], paths=paths) -> Callable[[], Cost]:
            return lambda: timed(lambda: [frames_of(path) for path in paths])

        def ours(path: Path) -> np.ndarray:
            return log_mel(load_audio(path), config)

        differences = [np.abs(ours(path) - reference(path)).max() for path in paths]
        numbers[f"{name}, largest difference to librosa"] = float(max(differences))
        costs = interleave({"ours": side(ours), "librosa": side(reference)}, rounds)
        what = f"{name} files to features, {rate / 1000:g} kHz"
        row = compare(costs, "ours", "librosa", FILES, what, "librosa", "30 s", target)
        rows.append(row)
        numbers[f"{name}, hours a CPU second"] = SECONDS / 3600 / (row.ours / 1e3)
    return rows, numbers
