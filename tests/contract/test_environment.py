"""Versions are pinned once: conda.yaml and the Makefile install what pyproject.toml names."""

import re
import tomllib
from pathlib import Path

import yaml


def requirement_name(text: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", text)
    assert match, text
    return match.group().lower().replace("_", "-")


def test_constraints_pin_every_direct_dependency(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    pins = {
        requirement_name(line): line
        for line in (project_root / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    for requirement in wanted:
        assert "==" in pins[requirement_name(requirement)], requirement
    assert all("+" not in line for line in pins.values()), "a local version suffix"


def test_conda_installs_the_project_with_the_same_pins(project_root: Path) -> None:
    environment = yaml.safe_load((project_root / "conda.yaml").read_text())
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    named, pip = {}, []
    for dependency in environment["dependencies"]:
        if isinstance(dependency, dict):
            pip = dependency["pip"]
        else:
            named[requirement_name(dependency)] = dependency
    python = named["python"].removeprefix("python=")
    assert project["requires-python"] == f">={python}"
    assert set(named) == {"python", "pip"}, "a version outside constraints.txt"
    assert "--constraint constraints.txt" in pip
    assert "--editable .[demo,test]" in pip
    makefile = (project_root / "Makefile").read_text()
    assert "--editable '.[demo,test]' --constraint constraints.txt" in makefile
