"""dvc.yaml against the code: commands, parameters and dependencies that are there, and all of them."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import click
import closures
import pytest
import yaml

from recitative.cli import cli
from recitative.params import flatten
from recitative.switches import AUTO, PROTOCOLS, SIZES

ROOT = Path(__file__).parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
GOVERNED = {name for table in (SIZES, PROTOCOLS) for values in table.values() for name in values}

# What a stage may read and not list.
NOT_LISTED = {
    "compute": "how the work is spread; what changes a rounding is listed, see below",
    "features.sample_rate": "decides every frame, and build/features is a dependency",
    "split.leak": "decides only which certificate is refused, and that is a dependency",
    # What shaped an output that the stage depends on:
    "pretrain: search": "build/search/best.yaml",
    "search: datasets": "which emotional speech is there: build/features and build/splits",
    "pretrain: datasets": "which emotional speech is there: build/features and build/splits",
    "controls: datasets": "read only to say what is missing",
    "transfer: datasets": "read only to say what is missing",
    "report: datasets": "read only to say what is missing",
    "transfer: pretrain": "build/pretrain",
    "transfer: encoder": "build/pretrain; its standardisation is read for a random encoder only",
    "claims: transfer": "build/transfer",
    "claims: cpc": "build/pretrain",
    "report: evaluate": "build/evaluate",
    "report: transfer": "build/transfer",
    "report: scae": "build/pretrain",
    "report: cpc": "build/pretrain",
    "report: emotion": "build/pretrain",
    "report: agreement": "build/agreement",
    "report: balance": "build/claims",
}
ROUNDING = ("device", "precision", "compile", "threads", "strategy", "devices")


def items(stage: str) -> list[dict[str, str]]:
    """The values of ``${item.…}`` of each of a stage's runs."""
    runs: list[dict[str, str]] = [{}]
    for name, values in STAGES[stage].get("matrix", {}).items():
        runs = [run | {name: value} for run in runs for value in values]
    return runs


def filled(text: str, item: dict[str, str]) -> str:
    """A text with DVC's templates filled: ``${item.…}``, or a value of params.yaml."""
    known = flatten(PARAMS) | {f"item.{name}": value for name, value in item.items()}
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(known[match[1]]), text)


def paths(stage: str, key: str) -> set[str]:
    """A path is a text, or the one name of a mapping that says more (``persist: true``)."""
    named = [next(iter(p)) if isinstance(p, dict) else p for p in STAGES[stage].get(key, [])]
    return {filled(path, item) for item in items(stage) for path in named}


def outputs(stage: str) -> set[str]:
    return paths(stage, "outs") | paths(stage, "metrics")


def values_of(entry: str) -> dict[str, Any]:
    """The flat values below a ``params:`` entry; none where there is no such entry."""
    return {
        name: value
        for name, value in flatten(PARAMS).items()
        if name == entry or name.startswith(f"{entry}.")
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_command_that_exists(stage: str) -> None:
    for item in items(stage):
        program, name, *arguments = filled(STAGES[stage]["cmd"], item).split()
        assert (program, name) == ("recitative", stage)
        command = cli.commands[name]
        command.make_context(name, arguments)  # refuses an unknown argument
        assert not any(isinstance(p, click.Option) and p.required for p in command.params)
    assert STAGES[stage]["desc"], "`dvc stage list` shows it"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_parameters_exist(stage: str) -> None:
    for entry in STAGES[stage].get("params", []):
        assert isinstance(entry, str), "another parameters file"
        assert values_of(entry), f"{entry} is not in params.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_a_switch_that_decides_for_a_stage_is_among_its_parameters(stage: str) -> None:
    entries = set(STAGES[stage].get("params", []))
    values = {name: value for entry in entries for name, value in values_of(entry).items()}
    decided = {name for name, value in values.items() if value == AUTO or name in GOVERNED}
    if decided:
        assert {"size", "protocol"} <= entries, f"`auto` is decided by a switch: {decided}"


@cache
def read_by(module: str) -> set[str]:
    """Sections, or dotted values, that a module reads off the parameters."""
    tree = ast.parse((ROOT / "src/recitative" / f"{module}.py").read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    sections = {*PARAMS, "arch"}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in sections:
            holder = ast.unparse(node.value)
            if holder in ("params", "searched") or holder.endswith(".params"):
                leaf = parents[node]
                dotted = isinstance(leaf, ast.Attribute) and f"{node.attr}.{leaf.attr}"
                found.add(dotted if dotted in flatten(PARAMS) else node.attr)
    return found


def test_the_reading_of_a_module_sees_what_it_reads() -> None:
    assert {"demo"} < read_by("stages/corpus")
    assert {"split.leak", "pretrain.arch"} <= read_by("stages/pretrain")
    assert {"features", "arch", "encoder"} <= read_by("experiment/speech")
    assert {"split.folds", "transfer.head"} <= read_by("experiment/music")
    assert {"encoder.standardize"} <= read_by("experiment/repeats")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_what_it_reads(stage: str) -> None:
    # Otherwise a changed value leaves the stage's old outputs in place, and nothing says so.
    modules = [
        module.removeprefix("recitative.").replace(".", "/")
        for module in closures.closure(stage)
        if module.startswith(("recitative.stages.", "recitative.experiment."))
    ]
    read = {name for module in modules for name in read_by(module)}
    if "arch" in read:  # the section of whichever architecture is chosen
        read = read - {"arch"} | {"scae", "cpc", "emotion"}
    entries = STAGES[stage].get("params", [])
    missing = set()
    for name in read:
        section = name.split(".")[0]
        excused = {name, section, f"{stage}: {section}"} & set(NOT_LISTED)
        listed = any(f"{name}.".startswith(f"{e}.") or e.startswith(f"{name}.") for e in entries)
        if not excused and not listed:
            missing.add(name)
    assert not missing, f"add to params of {stage} in dvc.yaml"


@pytest.mark.parametrize("stage", ["search", "pretrain", "transfer", "controls"])
def test_a_stage_that_trains_lists_what_changes_a_rounding(stage: str) -> None:
    listed = {entry for entry in STAGES[stage]["params"] if entry.startswith("compute.")}
    assert listed == {f"compute.{name}" for name in ROUNDING}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_the_code_that_it_runs_and_on_no_other(stage: str) -> None:
    # Otherwise DVC publishes results of old code as new, or trains again for a message.
    how = "python tests/contract/closures.py writes them"
    assert closures.listed(stage) == closures.expected(stage), how


def test_code_that_is_no_dependency_exists_and_has_a_reason() -> None:
    for name, reason in closures.EXEMPT.items():
        assert any(closures.is_in(module, [name]) for module in closures.graph().modules), name
        assert reason
    for stage, names in closures.STILL.items():
        for name in names:
            assert any(closures.is_in(module, [name]) for module in closures.closure(stage)), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_dependency_exists_or_is_made_by_another_stage(stage: str) -> None:
    made = {path for other in STAGES if other != stage for path in outputs(other)} | {"data"}
    for path in paths(stage, "deps"):
        if path.startswith("src/"):
            assert (ROOT / path).exists(), path
        else:
            folder = tuple(made_path + "/" for made_path in made)
            inside = path in made or path.startswith(folder)
            above = any(made_path.startswith(path + "/") for made_path in made)
            assert inside or above, f"nothing makes {path}"


def test_no_two_stages_write_to_one_place_and_none_into_data() -> None:
    places = [(path, stage) for stage in STAGES for path in outputs(stage)]
    for path, stage in places:
        assert path.startswith("build/"), path
        for other, owner in places:
            if (path, stage) != (other, owner):
                assert not (other + "/").startswith(path + "/"), f"{stage} and {owner}: {path}"


def test_data_is_imported_from_the_embedded_corpus() -> None:
    imported = yaml.safe_load((ROOT / "data.dvc").read_text())
    assert [out["path"] for out in imported["outs"]] == ["data"]
    assert [dep["path"] for dep in imported["deps"]] == ["build/corpus"]
    assert "build/corpus" in outputs("corpus")
    assert not imported.get("frozen", False)


def test_the_matrix_is_the_papers() -> None:
    assert STAGES["pretrain"]["matrix"] == {"language": ["eng", "man", "mix"]}
    pairings = {filled(STAGES["transfer"]["cmd"], item).split()[-1] for item in items("transfer")}
    assert pairings == {"eng2eng", "man2eng", "mix2eng", "eng2man", "man2man", "mix2man"}
    assert {item["music"] for item in items("controls")} == {"eng", "man"}
