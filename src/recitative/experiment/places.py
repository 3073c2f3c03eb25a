"""Where files lie: `data/` is given, `build/` is what stages write, `.recitative/` is the rest.

Paths are relative to the folder in which a command runs, which DVC makes a copy of the project for
an experiment; `.recitative/` belongs to the project that the user works in.
"""

from pathlib import Path

from recitative.tracking.store import project_root
from recitative.vocabulary import MUSIC, PAIRINGS

DATA = Path("data")
BUILD = Path("build")
CORPUS = BUILD / "corpus"
INDEX = BUILD / "index"
SPLITS = BUILD / "splits"
FEATURES = BUILD / "features"
SEARCH = BUILD / "search"
PRETRAIN = BUILD / "pretrain"
TRANSFER = BUILD / "transfer"
CONTROLS = BUILD / "controls"
EVALUATE = BUILD / "evaluate"
AGREEMENT = BUILD / "agreement"
REGISTRY = BUILD / "registry"
CLAIMS = BUILD / "claims"
FAULTS = BUILD / "faults"  # of `recitative faults`, which is no stage: there or not
TRUTH = BUILD / "truth"  # of `recitative truth`, which is no stage: there or not
REPORT = BUILD / "report"


def prediction_folders() -> dict[str, Path]:
    """Where the predictions of every pairing lie, and of every control: ``none2eng``."""
    folders = {pairing: TRANSFER / pairing for pairing in PAIRINGS}
    return folders | {f"none2{music}": CONTROLS / music for music in MUSIC}


def feature_cache() -> Path:
    """Log-mel frames by the content of their audio file."""
    return project_root() / ".recitative" / "features"


def work_folder() -> Path:
    """The work folders of all stages: see `experiment/work.py`."""
    return project_root() / ".recitative" / "work"
