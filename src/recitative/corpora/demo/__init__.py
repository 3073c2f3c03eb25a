"""The embedded corpus: synthetic speech and music in the layouts of the four original corpora.

It exists so that the pipeline runs from end to end on a fresh machine, and it is called synthetic
wherever its results are shown.
"""

from pathlib import Path

from recitative.corpora.demo.artists import write_music
from recitative.corpora.demo.layouts import write_readme
from recitative.corpora.demo.sizes import DemoConfig
from recitative.corpora.demo.speakers import write_speech
from recitative.corpora.demo.speech import require_espeak

__all__ = ["DemoConfig", "make_demo_corpus"]


def make_demo_corpus(folder: Path, config: DemoConfig, workers: int) -> None:
    """Write the whole corpus below `folder`, which is there and empty.

    Every speaker and every artist has a process of its own and a seed of its own, so that the bytes
    depend neither on `workers` nor on the order in which the processes end.

    Args:
        folder: Becomes the parent of LibriSpeech, data_aishell, MER_audio_taffc_dataset and CH818.
        config: Sizes and the seed.
        workers: Processes at a time.

    Raises:
        UserError: espeak-ng is not installed, cannot read its voices, or has crashed.
    """
    require_espeak()
    write_speech(folder, config, workers)
    write_music(folder, config, workers)
    write_readme(folder)
