"""CREMA-D: 91 actors say twelve English sentences in six emotions.

H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma, "CREMA-D: Crowd-sourced
emotional multimodal actors dataset", IEEE Transactions on Affective Computing 5(4), 2014. Open Database
License. https://github.com/CheyneyComputerScience/CREMA-D

Expected layout::

    CREMA-D/AudioWAV/<actor>_<sentence>_<EMO>_<level>.wav

EMO is the emotion that the actor was asked for; what listeners heard often differs. Known faults: no
category of Q4; 1076_MTI_SAD_XX.wav is silent (featurize leaves it out and says so).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from recitative.corpora.base import Clip, DatasetConfig, Problem, register_dataset
from recitative.corpora.layout import audio_files, missing_corpus

LAYOUT = "AudioWAV/<actor>_<sentence>_<EMO>_<level>.wav"
NAME = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_[A-Z]{1,2}\.wav")
EMOTIONS = {
    "ANG": "angry", "DIS": "disgust", "FEA": "fearful",
    "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip


class CREMADConfig(DatasetConfig):
    """CREMA-D: it has no parameters of its own."""


@register_dataset("crema_d", CREMADConfig)
def iter_clips(root: Path, config: CREMADConfig) -> Iterator[Clip | Problem]:
    """Every sentence; the group is the actor."""
    files = audio_files(root / "AudioWAV")
    if not files:
        raise missing_corpus("CREMA-D", root, LAYOUT)
    for path in files:
        name = NAME.fullmatch(path.name)
        if name and name[2] in EMOTIONS:
            emotion = EMOTIONS[name[2]]
            yield Clip(f"crema_d/{path.stem}", path, name[1], config.language, emotion=emotion)
        else:
            yield Problem(str(path), f"wrongly named: expected {LAYOUT}")
