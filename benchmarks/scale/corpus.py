"""A corpus of any number of hours that takes little disk: headers, no audio; holes, no frames.

A FLAC file of 42 bytes states its length, so `index` reads it as it reads any other, but hashes 42
bytes. A file of frames is a header and a hole, which reads as zeros.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recitative.corpora.base import IndexedClip
from recitative.features.mel import FeatureConfig
from recitative.features.shards import shard_name
from recitative.files import write_csv

PARAMS = Path(__file__).parents[2] / "params.yaml"
RATE = 16000  # Hz
UTTERANCES = (2.0, 23.4)  # s; their mean, 12.7 s, is that of LibriSpeech's train-clean-100
SPEAKER_SECONDS = 24 * 60  # what LibriSpeech's 2,484 speakers have on average
SONGS, SONG_SECONDS = 40, 30.0  # a music set: it is not what is large here


def make(
    folder: Path,
    hours: float,
    seconds_a_clip: tuple[float, float] = UTTERANCES,
    shard_hours: float = 100,
) -> int:
    """A project in `folder`, half its hours English speech and half Mandarin; the number of clips."""
    rng = np.random.default_rng(0)
    number = 0
    for language in ("eng", "man"):
        mean = sum(seconds_a_clip) / 2
        lengths = rng.uniform(*seconds_a_clip, round(hours / 2 * 3600 / mean))
        names = _names(folder / "data", language, len(lengths), round(SPEAKER_SECONDS / mean))
        for path, seconds in zip(names, lengths, strict=True):
            number += 1
            _write_header(path, seconds, number)
        rows = []
        music = folder / "data" / f"music-{language}"
        music.mkdir()
        for song in range(SONGS):
            number += 1
            _write_header(music / f"{song}.flac", SONG_SECONDS, number)
            quadrant = f"Q{song % 4 + 1}"
            rows.append(
                {"path": f"{song}.flac", "group": f"artist {song // 4}", "language": language}
                | {"quadrant": quadrant}
            )
        write_csv(music / "clips.csv", list(rows[0]), rows)
    _write_params(folder, shard_hours)
    return number


def _names(data: Path, language: str, clips: int, of_a_speaker: int) -> Iterator[Path]:
    """As LibriSpeech and AISHELL-1 lie; libsndfile does not mind that the latter's are not WAV."""
    for clip in range(clips):
        speaker, utterance = divmod(clip, of_a_speaker)
        if language == "eng":
            parent = data / "LibriSpeech" / "train" / str(speaker) / "1"
            name = f"{speaker}-1-{utterance:04}.flac"
        else:
            parent = data / "data_aishell" / "wav" / "train" / f"S{speaker:04}"
            name = f"BAC009S{speaker:04}W{utterance:04}.wav"
        if not utterance:
            parent.mkdir(parents=True)
        yield parent / name


def _write_header(path: Path, seconds: float, number: int) -> None:
    """A FLAC file that ends after its STREAMINFO; `number`, in place of the MD5, makes it unique."""
    bits = RATE << 44 | 0 << 41 | 15 << 36 | round(seconds * RATE)  # one channel of 16 bits
    info = (4096).to_bytes(2) * 2 + bytes(6) + bits.to_bytes(8) + number.to_bytes(16)
    out = os.open(path, os.O_WRONLY | os.O_CREAT)  # a third of what Path.write_bytes takes
    os.write(out, b"fLaC\x80" + len(info).to_bytes(3) + info)
    os.close(out)


def _write_params(folder: Path, shard_hours: float) -> None:
    values: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    values["size"] = "paper"
    for language in ("eng", "man"):
        values["datasets"][f"music-{language}"] = {
            "adapter": "table", "folder": f"music-{language}", "language": language,
        }  # fmt: skip
    values["features"]["shard_hours"] = shard_hours
    values["balance"] = {"speech_hours": None, "music_hours": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8")


def make_frames(
    folder: Path, clips: list[IndexedClip], config: FeatureConfig, *, one_file: bool
) -> int:
    """A role's feature store of holes; the number of its frames.

    Args:
        folder: of the store.
        clips: in its order.
        config: what decides how many frames a clip has, and a shard.
        one_file: every shard is the same file under another name, but each is mapped by itself: all
            but the time to fill the system's cache is as with files of their own.
    """
    folder.mkdir(parents=True)
    rate = config.sample_rate / config.hop_length
    rows: list[dict[str, Any]] = []
    start = held = shards = 0
    for clip in clips:
        frames = 1 + int(clip.seconds * rate)
        if held + frames > config.shard_frames:
            rest = config.shard_frames - held
            rows[-1]["frames"] += rest  # so that all shards are equally long
            start, held, shards = start + rest, 0, shards + 1
        rows.append({"id": clip.id, "start": start, "frames": frames})
        start, held = start + frames, held + frames
    write_csv(folder / "clips.csv", ("id", "start", "frames"), rows)
    for shard in range(shards + 1):
        path, frames = folder / shard_name(shard), config.shard_frames if shard < shards else held
        if one_file and 0 < shard < shards:
            path.hardlink_to(folder / shard_name(0))
            continue
        with path.open("wb") as out:
            header = {"descr": "<f4", "fortran_order": False, "shape": (frames, config.n_mels)}
            np.lib.format.write_array_header_1_0(out, header)
            out.truncate(out.tell() + frames * config.n_mels * 4)
    return start
