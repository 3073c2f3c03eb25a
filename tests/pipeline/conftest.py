"""Projects that are expensive to make: once for all test processes, to be copied before a change."""

import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from projects import Project, grow, make_project


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Any) -> Path:
    """A folder that one of the test processes makes for all of them."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not (shared / f"{name}.made").exists():
            make(folder)
            (shared / f"{name}.made").touch()
    return folder


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the four corpora; nobody changes it."""
    return once(tmp_path_factory, "corpora", grow)


@pytest.fixture(scope="session")
def featurized(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project up to its features; copy it to go on."""

    def make(root: Path) -> None:
        project = make_project(root)
        (root / "data").symlink_to(corpora)
        for stage in ("index", "split", "featurize"):
            project.run(stage)

    return Project(once(tmp_path_factory, "featurized", make))


@pytest.fixture(scope="session")
def trained(featurized: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with every cell and control trained and scored, nothing registered; copy it."""

    def make(root: Path) -> None:
        project = featurized.copy(root).train()
        for stage in ("evaluate", "agreement"):
            project.run(stage)

    return Project(once(tmp_path_factory, "trained", make))
