"""LibriSpeech: read English speech from audio books.

V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "Librispeech: an ASR corpus based on public domain
audio books", ICASSP 2015. Licence CC BY 4.0. https://www.openslr.org/12 (train-clean-100: 100 h,
251 speakers, 16 kHz FLAC; the paper's English speech).

Expected layout::

    LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac

The transcripts (`.trans.txt`) are not needed. Known faults: the same reader can stand in two
chapters of two books, so the group is the speaker and never the chapter.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from recitative.corpora.base import Clip, DatasetConfig, Problem, register_dataset
from recitative.corpora.layout import audio_files, missing_corpus

LAYOUT = "<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac"
NAME = re.compile(r"(\d+)-(\d+)-\d+\.flac")


class LibriSpeechConfig(DatasetConfig):
    """LibriSpeech."""

    subsets: list[str] = []  # e.g. train-clean-100; empty: all that are there


@register_dataset("librispeech", LibriSpeechConfig)
def iter_clips(root: Path, config: LibriSpeechConfig) -> Iterator[Clip | Problem]:
    """Every utterance of the chosen subsets; the group is the speaker."""
    subsets = config.subsets
    if not subsets and root.is_dir():
        subsets = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files = []
    for subset in subsets:
        found = audio_files(root / subset)
        if not found and config.subsets:
            raise missing_corpus(f"LibriSpeech {subset}", root, LAYOUT)
        files += found
    if not files:
        raise missing_corpus("LibriSpeech", root, LAYOUT)
    for path in files:
        name = NAME.fullmatch(path.name)
        if name and name.groups() == (path.parent.parent.name, path.parent.name):
            yield Clip(f"librispeech/{path.stem}", path, name[1], config.language)
        else:
            yield Problem(str(path), f"wrongly named: expected {LAYOUT}")
