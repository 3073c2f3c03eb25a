"""ESD: the Emotional Speech Dataset, the same sentences in five emotions, English and Mandarin.

K. Zhou, B. Sisman, R. Liu and H. Li, "Emotional voice conversion: theory, databases and ESD", Speech
Communication 137, 2022. For research, on request. https://github.com/HLTSingapore/Emotional-Speech-Data

Expected layout::

    ESD/<speaker>/<Emotion>/[train, evaluation, test/]<speaker>_<number>.wav

Speakers 0001 to 0010 read Mandarin, 0011 to 0020 English: the role's language chooses. The emotion is
the folder's name. Known faults: Neutral, Happy, Angry, Sad and Surprise have no category of low
arousal and positive valence, so that Q4 is missing; the division into train, evaluation and test is
by sentence, not by speaker, and is not used.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from recitative.corpora.base import Clip, DatasetConfig, Problem, register_dataset
from recitative.corpora.layout import audio_files, missing_corpus

LAYOUT = "<speaker>/<Emotion>/<speaker>_<number>.wav"
NAME = re.compile(r"(\d{4})_\d+\.wav", re.IGNORECASE)
SPEAKERS = {"man": range(1, 11), "eng": range(11, 21)}


class ESDConfig(DatasetConfig):
    """ESD: it has no parameters of its own."""


@register_dataset("esd", ESDConfig)
def iter_clips(root: Path, config: ESDConfig) -> Iterator[Clip | Problem]:
    """Every utterance in the role's language; the group is the speaker."""
    found = False
    for path in audio_files(root):
        name, parts = NAME.fullmatch(path.name), path.relative_to(root).parts
        if not name or len(parts) < 3 or name[1] not in parts[:-2]:
            yield Problem(str(path), f"wrongly named: expected {LAYOUT}")
        elif int(name[1]) not in (*SPEAKERS["man"], *SPEAKERS["eng"]):
            yield Problem(str(path), f"speaker {name[1]}: ESD has 0001 to 0020")
        elif int(name[1]) in SPEAKERS[config.language]:
            found = True
            emotion = parts[parts.index(name[1]) + 1].lower()
            yield Clip(f"esd/{path.stem}", path, name[1], config.language, emotion=emotion)
    if not found:
        raise missing_corpus(f"ESD ({config.language} speakers)", root, LAYOUT)
