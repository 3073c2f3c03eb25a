"""RAVDESS: 24 actors who speak, and 23 of them who sing, two sentences in the same emotions.

S. R. Livingstone and F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song",
PLoS ONE 13(5), 2018. CC BY-NC-SA 4.0. https://zenodo.org/records/1188976

Expected layout, in any number of folders (``Audio_Speech_Actors_01-24``, ``Audio_Song_Actors_01-24``)::

    RAVDESS/…/Actor_<NN>/MM-CC-EE-II-SS-RR-AA.wav

MM is the modality (03: audio alone), CC the channel (01 speech, 02 song), EE the emotion, AA the
actor. Spoken and sung by the same people: with `channel: song` it serves as music, too, as a natural
positive control; give each role other `actors`. Known faults: calm is the only category of Q4, and
song has no disgust and no surprise; actor 18 does not sing.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from recitative.corpora.base import Clip, DatasetConfig, Problem, register_dataset
from recitative.corpora.layout import audio_files, missing_corpus

LAYOUT = "Actor_<NN>/<MM-CC-EE-II-SS-RR-AA>.wav"
NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-0[12]-0[12]-0[12]-(\d\d)\.wav", re.IGNORECASE)
CHANNELS = {"speech": "01", "song": "02"}
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprise",
}  # fmt: skip


class RAVDESSConfig(DatasetConfig):
    """RAVDESS."""

    channel: Literal["speech", "song"] = "speech"
    actors: list[int] = Field(default=[])  # numbers, 1 to 24; empty: all


@register_dataset("ravdess", RAVDESSConfig)
def iter_clips(root: Path, config: RAVDESSConfig) -> Iterator[Clip | Problem]:
    """Every file of the channel by the chosen actors; the group is the actor."""
    files = audio_files(root)
    if not files:
        raise missing_corpus("RAVDESS", root, LAYOUT)
    clips = []
    for path in files:
        name = NAME.fullmatch(path.name)
        if not name or path.parent.name != f"Actor_{name[4]}":
            yield Problem(str(path), f"wrongly named: expected {LAYOUT}")
        elif name[2] == CHANNELS[config.channel] and (
            not config.actors or int(name[4]) in config.actors
        ):
            emotion = EMOTIONS[name[3]]
            clips.append(
                Clip(f"ravdess/{path.stem}", path, name[4], config.language, emotion=emotion)
            )
    if not clips:
        of = f" of the actors {', '.join(map(str, config.actors))}" if config.actors else ""
        raise missing_corpus(f"RAVDESS {config.channel}{of}", root, LAYOUT)
    yield from clips
