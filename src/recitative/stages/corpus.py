"""`recitative corpus`: the embedded, synthetic corpus -> build/corpus/, in the originals' layouts."""

from recitative.corpora.demo import make_demo_corpus
from recitative.experiment.places import CORPUS
from recitative.experiment.repository import guard
from recitative.files import atomic_folder
from recitative.params import Params


def run(params: Params) -> None:
    """Make the corpus anew: the same parameters give the same bytes on the same machine."""
    guard()
    with atomic_folder(CORPUS) as folder:
        make_demo_corpus(folder, params.demo, params.compute.processes)
