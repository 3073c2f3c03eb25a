"""Audio files to float32 mono samples at one rate: those of `librosa.load`, without librosa.

Every format that libsndfile reads (wav, flac, mp3, ogg, aiff …), any rate, any channel count. A
PCM file is decoded, downmixed and resampled block by block: its rate and channels cost no memory.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from recitative.errors import UserError

Samples = npt.NDArray[np.float32]

SILENCE = 1e-6  # peak amplitude, full scale = 1; a 16-bit file's smallest step is 3e-5
TRUNCATED = 0.01  # share of the declared samples that may lack; headers are often off by a few
BLOCK = 65536  # frames decoded at a time
# soundfile seeks after each read, and a seek changes the last bit of what these decoders give after
# it; 1e-7 is enough to move a quiet mel band by 1 %. So they are read at once, as librosa does.
READ_AT_ONCE = ("MP3", "OGG")

# What libsndfile's log says of a data chunk that runs past the end of the file (wav, aiff, au).
_SHORT_CHUNK = re.compile(r"(?:data|SSND|Data Size)\s+: (\d+) \(should be (\d+)\)")
_UNKNOWN_LENGTH = 2**32 - 1  # declared by a program that wrote to a pipe


class AudioError(UserError):
    """One file that cannot be used, and why.

    Attributes:
        path: the file.
        reason: a phrase, e.g. "silent (peak 0)".
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; replace the file or leave it out"


def load_audio(path: Path, sample_rate: int = 16000) -> Samples:
    """Decode a file, mix it down to mono and resample it.

    The downmix is the mean over the channels and the resampler soxr's HQ, as in `librosa.load`,
    whose samples these are.

    Args:
        path: a file in any format that libsndfile reads; the name's ending does not matter.
        sample_rate: of the result, Hz.

    Returns:
        samples (n,), float32, not normalised, of any length > 0.

    Raises:
        AudioError: the file is missing, empty, no audio, damaged, truncated, or holds no samples,
            NaN or infinite samples, or silence.
    """
    _check_readable(path)
    try:
        with soundfile.SoundFile(path) as sound:
            blocks = list(_resample(_mono_blocks(path, sound), sound.samplerate, sample_rate))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a headerless .raw
        raise AudioError(path, "not an audio file that libsndfile reads") from error
    samples = np.concatenate(blocks)
    peak = _peak(samples)
    if peak < SILENCE:
        raise AudioError(path, f"silent (peak {peak:.2g})")
    return samples


def peak_normalize(samples: Samples) -> Samples:
    """Scale samples (n,) so that the largest magnitude is 1; all-zero samples stay as they are."""
    peak = _peak(samples)
    return samples / peak if peak > 0 else samples


def _peak(samples: Samples) -> np.float32:
    return np.float32(max(abs(samples.max()), abs(samples.min())))


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise AudioError(path, (error.strerror or str(error)).lower()) from error
    if empty:
        raise AudioError(path, "an empty file")


def _mono_blocks(path: Path, sound: soundfile.SoundFile) -> Iterator[Samples]:
    """Yield the mean over the channels, block by block; raise if the file ends too early."""
    declared, decoded = sound.frames, 0
    size = -1 if sound.format in READ_AT_ONCE else BLOCK
    try:
        while len(block := sound.read(size, dtype="float32", always_2d=True)):
            decoded += len(block)
            # Columns are summed one by one: numpy's mean over a short last axis is 11 times slower.
            mono = block[:, 0].copy()
            for channel in range(1, block.shape[1]):
                mono += block[:, channel]
            mono /= np.float32(block.shape[1])
            if not np.isfinite(mono).all():
                raise AudioError(path, "NaN or infinite samples")
            yield mono
    except soundfile.LibsndfileError as error:
        raise AudioError(
            path, f"damaged or truncated ({decoded} of {declared} samples decoded)"
        ) from error
    if not declared or not decoded:
        raise AudioError(path, "no samples")
    chunk = _SHORT_CHUNK.search(sound.extra_info)
    if chunk and int(chunk[1]) != _UNKNOWN_LENGTH:
        declared = round(declared * int(chunk[1]) / max(int(chunk[2]), 1))
    if decoded < (1 - TRUNCATED) * declared:
        raise AudioError(path, f"truncated ({decoded} of {declared} samples)")


def _resample(blocks: Iterator[Samples], rate: int, sample_rate: int) -> Iterator[Samples]:
    """Yield `blocks` at `sample_rate`; in all ceil(n · sample_rate / rate) samples, as librosa."""
    if rate == sample_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    read = written = 0
    for block in blocks:
        read += len(block)
        resampled = stream.resample_chunk(block)
        written += len(resampled)
        yield resampled
    missing = int(np.ceil(read * (sample_rate / rate))) - written
    tail = stream.resample_chunk(np.empty(0, np.float32), last=True)[:missing]
    yield np.pad(tail, (0, missing - len(tail)))
