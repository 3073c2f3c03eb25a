"""log_mel against librosa over a grid of settings, and against one stored array."""

from itertools import product
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recitative.audio import Samples, load_audio
from recitative.features.mel import FeatureConfig, Frames, log_mel, mel_filterbank

RATE = 16000
STORED = Path(__file__).with_name("log_mel_sweep.npy")


def signals() -> dict[str, Samples]:
    rng = np.random.default_rng(3)
    time = np.arange(int(1.3 * RATE)) / RATE
    noise = rng.standard_normal(len(time))
    sounds = {
        "noise": 0.3 * noise,
        "sine": 0.9 * np.sin(2 * np.pi * 440 * time),  # leaves most bands to rounding noise
        "partials with a floor of one 16-bit step": np.round(
            8000 * (np.sin(2 * np.pi * 220 * time) + np.sin(2 * np.pi * 3000 * time))
        )
        / 32768,
        "chirp": 0.5 * librosa.chirp(fmin=40, fmax=7900, sr=RATE, duration=1.3),
        "near silence": 2e-6 * noise,
        "a click in zeros": np.where(np.arange(len(time)) == 9000, 0.5, 0),
    }
    return {name: samples.astype(np.float32) for name, samples in sounds.items()}


SIGNALS = signals()


def librosa_log_mel(samples: Samples, config: FeatureConfig) -> Frames:
    """The definition, as the released code has it, in librosa's words."""
    if config.peak_normalize:
        samples = samples / np.abs(samples).max()
    spectrum = np.abs(
        librosa.stft(
            samples,
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=config.hop_length,
            center=config.center,
        )
    )
    mel = librosa.feature.melspectrogram(
        S=spectrum**config.power,
        sr=config.sample_rate,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        norm=config.mel_norm,
    )
    return np.log(mel + np.float32(config.log_offset)).T


@pytest.mark.parametrize("name", SIGNALS)
def test_defaults_equal_librosa(name: str) -> None:
    config = FeatureConfig()
    frames = log_mel(SIGNALS[name], config)
    assert frames.dtype == np.float32
    assert frames.shape == (1 + len(SIGNALS[name]) // 512, 128)
    np.testing.assert_allclose(frames, librosa_log_mel(SIGNALS[name], config), atol=1e-4, rtol=0)


GRID = [
    {"n_fft": n_fft, "win_length": window, "hop_length": hop, "power": power, "center": center}
    | {"n_mels": bands}
    for n_fft, window, hop, power, center, bands in product(
        (1024, 2048), (400, 1024), (160, 333), (1, 2), (True, False), (40, 128)
    )
] + [
    {"n_fft": 2048, "win_length": 2048, "hop_length": 512},
    {"n_fft": 512, "win_length": 401, "hop_length": 100, "n_mels": 20},
    {"fmin": 80.0, "fmax": 7600.0},
    {"fmin": 1500.0},
    {"mel_norm": None},
    {"log_offset": 1e-3, "peak_normalize": False},
]


@pytest.mark.parametrize("values", GRID, ids=lambda values: "-".join(map(str, values.values())))
def test_grid_equals_librosa(values: dict[str, object]) -> None:
    config = FeatureConfig.model_validate(values)
    for samples in SIGNALS.values():
        expected = librosa_log_mel(samples, config)
        np.testing.assert_allclose(log_mel(samples, config), expected, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 80 * 512), center=st.booleans())
def test_any_length_equals_librosa(length: int, center: bool) -> None:
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    config = FeatureConfig(center=center, n_mels=40)
    frames = log_mel(samples, config)
    if not center and length < config.n_fft:
        assert frames.shape == (0, 40)
    else:
        np.testing.assert_allclose(frames, librosa_log_mel(samples, config), atol=1e-4, rtol=0)


@pytest.mark.parametrize("values", [{}, {"power": 2, "fmin": 50.0, "mel_norm": None}])
def test_the_librosa_backend_agrees(values: dict[str, object]) -> None:
    ours = FeatureConfig.model_validate(values)
    theirs = ours.model_copy(update={"backend": "librosa"})
    samples = SIGNALS["chirp"]
    np.testing.assert_allclose(log_mel(samples, ours), log_mel(samples, theirs), atol=1e-4, rtol=0)


@pytest.mark.parametrize("n_fft", [512, 2048])
@pytest.mark.parametrize("n_mels", [13, 40, 128])
@pytest.mark.parametrize(("fmin", "fmax"), [(0.0, None), (27.5, 4000.0), (1200.0, 8000.0)])
@pytest.mark.parametrize("mel_norm", ["slaney", None])
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_filterbank_equals_librosa(
    n_fft: int, n_mels: int, fmin: float, fmax: float | None, mel_norm: str | None
) -> None:
    config = FeatureConfig.model_validate(
        {"n_fft": n_fft, "win_length": 400, "hop_length": 160, "n_mels": n_mels}
        | {"fmin": fmin, "fmax": fmax, "mel_norm": mel_norm}
    )
    expected = librosa.filters.mel(
        sr=RATE, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, norm=mel_norm
    )
    np.testing.assert_allclose(mel_filterbank(config), expected, atol=1e-7)


def test_the_stored_array_still_comes_out() -> None:
    """Catches a change in ours and librosa's defaults alike; made by librosa 0.11."""
    time = np.arange(RATE // 2) / RATE
    sweep = np.sin(2 * np.pi * (100 + 3000 * time) * time) * np.linspace(0.2, 1, len(time))
    frames = log_mel(sweep.astype(np.float32), FeatureConfig(n_mels=32))
    np.testing.assert_allclose(frames, np.load(STORED), atol=1e-4, rtol=0)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_real_audio_equals_librosa(real_data: Path) -> None:
    config = FeatureConfig()
    for pattern in ("CH818/**/*.mp3", "LibriSpeech/**/*.flac", "data_aishell/**/*.wav"):
        path = sorted(real_data.glob(pattern))[0]
        samples, _ = librosa.load(path, sr=RATE)
        expected = librosa_log_mel(samples, config)
        np.testing.assert_allclose(log_mel(load_audio(path), config), expected, atol=1e-4, rtol=0)


def test_loudness_does_not_matter_when_normalised() -> None:
    quiet, loud = SIGNALS["noise"], np.float32(2) * SIGNALS["noise"]
    np.testing.assert_array_equal(log_mel(quiet, FeatureConfig()), log_mel(loud, FeatureConfig()))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hop_length": 2000}, "hop_length 2000 is above win_length 1024"),
        ({"win_length": 4096}, "win_length 4096 is above n_fft 2048"),
        ({"fmax": 9000.0}, "at most half the sample rate, 8000 Hz"),
        ({"fmin": 8000.0}, "fmax must be above fmin"),
        ({"segment_hop": 32}, "segment_hop 32 is above segment_frames 31"),
        ({"power": 3}, "power"),
        ({"n_fft": 2047}, "multiple of 2"),
        ({"hop_lenght": 512}, "hop_lenght"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        FeatureConfig.model_validate(values)
