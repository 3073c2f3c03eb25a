"""Audio files to float32 mono samples at one rate: those of `librosa.load`, without librosa.

Every format that libsndfile reads (wav, flac, mp3, ogg, aiff …), any rate, any channel count. A
PCM file is decoded, downmixed and resampled block by block: its rate and channels cost no memory.

Here alone is defined which file cannot be used. `index` reads headers (`read_header`); `audit data`
and `featurize` decode (`load_audio`), and refuse all that the header alone refuses, too.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from recitative.errors import UserError

Samples = npt.NDArray[np.float32]
Fault = Literal["unreadable", "truncated", "not finite", "silent", "too short"]
FAULTS: tuple[Fault, ...] = ("unreadable", "truncated", "not finite", "silent", "too short")

SILENCE = 1e-6  # peak amplitude, full scale = 1; a 16-bit file's smallest step is 3e-5
TRUNCATED = 0.01  # share of the declared samples that may lack; headers are often off by a few
BLOCK = 65536  # frames decoded at a time
# soundfile seeks after each read, and a seek changes the last bit of what these decoders give after
# it; 1e-7 is enough to move a quiet mel band by 1 %. So they are read at once, as librosa does.
READ_AT_ONCE = ("MP3", "OGG")

# What libsndfile's log says of a data chunk that runs past the end of the file (wav, aiff, au).
_SHORT_CHUNK = re.compile(r"(?:data|SSND|Data Size)\s+: (\d+) \(should be (\d+)\)")
_STREAMED_BYTES = 0x7FFF0000  # from here on the stated size is a stand-in: written to a pipe
_UNKNOWN_FRAMES = 2**62  # libsndfile reports 2^63 - 1 where a header does not state the length


class AudioError(UserError):
    """One file that cannot be used, and why: `reason` begins with the fault, its kind."""

    def __init__(self, path: Path, fault: Fault, detail: str) -> None:
        super().__init__(path, fault, detail)
        self.path, self.fault = path, fault
        self.reason = f"{fault}: {detail}"

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; replace the file or leave it out"


@dataclass(frozen=True)
class Header:
    """What a file says of itself."""

    frames: int  # > 0; those that are there, where the file is a little shorter than it says
    sample_rate: int  # Hz
    channels: int


def read_header(path: Path) -> Header:
    """Read a file's header; nothing is decoded.

    Raises:
        AudioError: the file is missing, not a regular file (a pipe would never end), empty or no
            audio, does not state its length or has none, or is shorter than its header states.
    """
    with _opened(path) as sound:
        return Header(sound.frames, sound.samplerate, sound.channels)


def load_audio(path: Path, sample_rate: int = 16000) -> Samples:
    """Decode a file, mix it down to mono and resample it to `sample_rate`, Hz.

    The downmix is the mean over the channels and the resampler soxr's HQ, as in `librosa.load`,
    whose samples these are. The name's ending does not matter.

    Returns:
        samples (n,), float32, not normalised, of any length > 0.

    Raises:
        AudioError: as `read_header`; or the file is damaged, or holds NaN, infinite samples or
            silence.
    """
    with _opened(path) as sound:
        blocks = list(_resample(_mono_blocks(path, sound), sound.samplerate, sample_rate))
    samples = np.concatenate(blocks)
    peak = _peak(samples)
    if peak < SILENCE:
        raise AudioError(path, "silent", f"its peak is {peak:.2g}, below {SILENCE:g}")
    return samples


def require_length(path: Path, seconds: float, least: float) -> None:
    """Raise AudioError where a file of `seconds`, by its header, is shorter than `least`, s."""
    if seconds < least:
        raise AudioError(path, "too short", f"{seconds:.2f} s; {least:.2f} s are needed")


def peak_normalize(samples: Samples) -> Samples:
    """Scale samples (n,) so that the largest magnitude is 1; all-zero samples stay as they are."""
    peak = _peak(samples)
    return samples / peak if peak > 0 else samples


def _peak(samples: Samples) -> np.float32:
    return np.float32(max(abs(samples.max()), abs(samples.min())))


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The file, opened, whose header and size show nothing wrong."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # before it is opened: that of a pipe never returns
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise AudioError(path, "unreadable", f"{kind}, not a file")
        if not status.st_size:
            raise AudioError(path, "unreadable", "an empty file")
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        detail = (error.strerror or str(error)).lower()
        raise AudioError(path, "unreadable", detail) from error
    except ValueError as error:  # a zero byte in its name
        raise AudioError(path, "unreadable", str(error)) from error
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a headerless .raw
        raise AudioError(path, "unreadable", "not an audio file that libsndfile reads") from error
    with sound:
        if not sound.frames:
            raise AudioError(path, "unreadable", "no samples")
        if sound.frames >= _UNKNOWN_FRAMES:
            detail = "its header does not state its length; encode it again"
            raise AudioError(path, "unreadable", detail)
        chunk = _SHORT_CHUNK.search(sound.extra_info)
        if chunk and int(chunk[1]) < _STREAMED_BYTES:
            declared = round(sound.frames * int(chunk[1]) / max(int(chunk[2]), 1))
            _require_samples(path, sound.frames, declared)
        yield sound


def _require_samples(path: Path, there: int, declared: int) -> None:
    if there < (1 - TRUNCATED) * declared:
        raise AudioError(path, "truncated", f"{there} of {declared} samples")


def _mono_blocks(path: Path, sound: soundfile.SoundFile) -> Iterator[Samples]:
    """Yield the mean over the channels, block by block; raise if the file ends too early."""
    decoded = 0
    size = -1 if sound.format in READ_AT_ONCE else BLOCK
    try:
        while len(block := sound.read(size, dtype="float32", always_2d=True)):
            # Columns are summed one by one: numpy's mean over a short last axis is 11 times slower.
            mono = block[:, 0].copy()
            for channel in range(1, block.shape[1]):
                mono += block[:, channel]
            mono /= np.float32(block.shape[1])
            if not (finite := np.isfinite(mono)).all():
                at = (decoded + int(np.argmin(finite))) / sound.samplerate
                raise AudioError(path, "not finite", f"NaN or infinite samples at {at:.2f} s")
            decoded += len(block)
            yield mono
    except soundfile.LibsndfileError as error:
        detail = f"damaged, or {decoded} of {sound.frames} samples"
        raise AudioError(path, "truncated", detail) from error
    _require_samples(path, decoded, sound.frames)


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
