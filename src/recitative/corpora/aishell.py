"""AISHELL-1: read Mandarin speech.

H. Bu, J. Du, X. Na, B. Wu and H. Zheng, "AISHELL-1: an open-source Mandarin speech corpus and a
speech recognition baseline", O-COCOSDA 2017. Licence Apache-2.0, for academic use.
https://www.openslr.org/33 (178 h, 400 speakers, 16 kHz WAV; the paper's Mandarin speech).

Expected layout::

    data_aishell/wav/<train|dev|test>/<speaker>/BAC009<speaker>W<utterance>.wav     speaker: S0002

Known faults: the download holds one `S….tar.gz` a speaker below `wav/`, which must be unpacked
where it lies; a few hundred utterances have no transcript, which does not matter here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from recitative.corpora.base import Clip, DatasetConfig, Problem, register_dataset
from recitative.corpora.layout import audio_files, missing_corpus
from recitative.errors import UserError

LAYOUT = "wav/<train|dev|test>/<speaker S0002>/BAC009<speaker>W<utterance>.wav"
NAME = re.compile(r"\w*?(S\d{4})W\d+\.wav")


class AishellConfig(DatasetConfig):
    """AISHELL-1: it has no parameters of its own."""


@register_dataset("aishell", AishellConfig)
def iter_clips(root: Path, config: AishellConfig) -> Iterator[Clip | Problem]:
    """Every utterance; the group is the speaker."""
    files = audio_files(root / "wav")
    if not files:
        if any((root / "wav").glob("*.tar.gz")):
            raise UserError(
                f"{root / 'wav'}: the speakers are packed; unpack each S….tar.gz where it lies"
            )
        raise missing_corpus("AISHELL-1", root, LAYOUT)
    for path in files:
        name = NAME.fullmatch(path.name)
        if name and name[1] == path.parent.name:
            yield Clip(f"aishell/{path.stem}", path, name[1], config.language)
        else:
            yield Problem(str(path), f"wrongly named: expected {LAYOUT}")
