"""`recitative corpus`: the embedded, synthetic corpus -> build/corpus/, in the originals' layouts."""

from recitative.corpora.demo import make_demo_corpus
from recitative.files import atomic_folder
from recitative.params import Params
from recitative.stages.own_data import guard
from recitative.stages.workspace import CORPUS, workers


def run(params: Params) -> None:
    """Make the corpus anew: the same parameters give the same bytes on the same machine."""
    guard()
    with atomic_folder(CORPUS) as folder:
        make_demo_corpus(folder, params.demo, workers(params.compute))
