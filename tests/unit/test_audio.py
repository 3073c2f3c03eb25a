"""load_audio against librosa.load, and every kind of bad file."""

import pickle
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from recitative.audio import AudioError, Samples, load_audio, peak_normalize


def noise(seconds: float, rate: int, channels: int = 1) -> Samples:
    rng = np.random.default_rng(7)
    return (0.1 * rng.standard_normal((round(seconds * rate), channels))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [
        ("speech.wav", 8000, 1),
        ("speech.wav", 16000, 1),
        ("music.wav", 22050, 2),
        ("music.wav", 44100, 2),
        ("many.wav", 48000, 8),
        ("high.wav", 192000, 1),
        ("music.mp3", 44100, 2),
        ("speech.flac", 16000, 1),
        ("speech.flac", 11025, 3),
        ("music.ogg", 44100, 2),
        ("mit Leerzeichen 中文.wav", 44100, 1),
    ],
)
def test_equals_librosa(tmp_path: Path, name: str, rate: int, channels: int) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(1.7, rate, channels), rate)
    expected, _ = librosa.load(path, sr=16000, mono=True)
    samples = load_audio(path)
    assert samples.dtype == np.float32
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples, expected, atol=1e-6)


@pytest.mark.parametrize("frames", [20, 777, 65536, 65537])
def test_length_is_librosas_at_block_borders(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(frames, 0.5, np.float32), 44100)
    expected, _ = librosa.load(path, sr=16000)
    np.testing.assert_allclose(load_audio(path), expected, atol=1e-6)


def test_the_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", noise(1, 16000), 16000)
    wrong = tmp_path / "a.wav"
    wrong.write_bytes((tmp_path / "a.mp3").read_bytes())
    np.testing.assert_array_equal(load_audio(wrong), load_audio(tmp_path / "a.mp3"))


def test_a_wav_written_to_a_pipe_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, noise(1, 16000), 16000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert len(load_audio(path)) == 16000


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_bad_file(path: Path, kind: str) -> None:
    samples = noise(3, 16000)
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("not audio\n" * 500)
        case "folder":
            path.mkdir()
        case "no samples":
            soundfile.write(path, samples[:0], 16000)
        case "silent":
            soundfile.write(path, 0 * samples, 16000)
        case "cancelling channels":
            soundfile.write(path, np.hstack([samples, -samples]), 16000, subtype="FLOAT")
        case "nan" | "infinite":
            samples[20000] = np.nan if kind == "nan" else np.inf
            soundfile.write(path, samples, 16000, subtype="FLOAT")
        case "truncated":
            soundfile.write(path, samples, 16000)
            half(path)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("a.wav", "missing", "unreadable: no such file"),
        ("a.wav", "folder", "unreadable: a folder, not a file"),
        ("a.wav", "empty", "unreadable: an empty file"),
        ("a.wav", "text", "not an audio file"),
        ("a.mp3", "text", "not an audio file"),
        ("a.raw", "text", "not an audio file"),
        ("a.wav", "no samples", "no samples"),
        ("a.wav", "silent", "silent: its peak is 0"),
        ("a.wav", "cancelling channels", "silent: its peak is 0"),
        ("a.wav", "nan", "NaN or infinite"),
        ("a.wav", "infinite", "NaN or infinite"),
        ("a.wav", "truncated", "truncated: 2398"),
        ("a.flac", "truncated", "truncated"),
        ("a.mp3", "truncated", "truncated"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, kind: str, reason: str) -> None:
    path = tmp_path / name
    write_bad_file(path, kind)
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_the_error_survives_a_worker_process(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(AudioError(tmp_path / "a.wav", "silent", "its peak is 0")))
    assert (
        str(error)
        == f"{tmp_path / 'a.wav'}: silent: its peak is 0; replace the file or leave it out"
    )


def test_peak_normalize() -> None:
    samples = np.array([0.1, -0.4, 0.2], np.float32)
    np.testing.assert_array_equal(peak_normalize(samples), samples / np.float32(0.4))
    assert peak_normalize(samples).dtype == np.float32
    np.testing.assert_array_equal(peak_normalize(np.zeros(3, np.float32)), 0)
