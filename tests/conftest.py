"""Shared fixtures. Tests run on one thread a process; pytest-xdist puts processes side by side."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# librosa keeps what numba compiles beside its own files; two workers that write there at the same time
# crash each other, so each has a folder of its own.
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="recitative-numba-")
atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Small real corpora in the originals' layouts, where they lie beside the checkout."""
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("the small real corpora (../shared/real) are not on this machine")
    return folder
