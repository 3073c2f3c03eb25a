"""The embedded corpus: synthetic speech and music in the layouts of five original corpora.

It exists so that the pipeline runs from end to end on a fresh machine, and it is called synthetic
wherever its results are shown.
"""

import shutil
from pathlib import Path

from recitative.corpora.base import MUSIC_ROLES
from recitative.corpora.demo.artists import write_music
from recitative.corpora.demo.emotion import write_emotions
from recitative.corpora.demo.plan import DemoConfig
from recitative.corpora.demo.speech import require_espeak, write_speech
from recitative.files import read_csv

__all__ = ["DemoConfig", "is_synthetic", "make_demo_corpus"]


def make_demo_corpus(folder: Path, config: DemoConfig, workers: int) -> None:
    """Write the whole corpus below `folder`, which is there and empty.

    Every speaker and every artist has a process of its own and a seed of its own, so that the bytes
    depend neither on `workers` nor on the order in which the processes end.

    Raises:
        UserError: espeak-ng is not installed, cannot read its voices, or has crashed.
    """
    require_espeak()
    write_speech(folder, config, workers)
    write_emotions(folder, config, workers)
    write_music(folder, config, workers)
    shutil.copyfile(Path(__file__).with_name("readme.txt"), folder / "README.txt")


def is_synthetic(data: Path, index: Path) -> bool:
    """Whether any of the corpus is the embedded one: by its README, or by its artists' names.

    Either mark is enough: music of one's own with synthetic speech says as little, and one label too
    many is a smaller error than one too few.
    """
    readme = data / "README.txt"
    if readme.is_file() and "SYNTHETIC" in readme.read_text(encoding="utf-8", errors="replace"):
        return True
    tables = [path for role in MUSIC_ROLES if (path := index / f"{role}.csv").exists()]
    groups = [row["group"] for path in tables for row in read_csv(path)]
    return any(group.startswith("Synthetic artist") for group in groups)
