"""The command line: every stage is a command, and what the user can mend is one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from recitative import cli
from recitative.errors import UserError
from recitative.params import load_params
from recitative.vocabulary import SPEECH

STAGES = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text("utf-8"))["stages"]
PARAMS = str(Path(__file__).parents[2] / "params.yaml")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli.cli, arguments)


def test_every_command_stands_once_in_the_help() -> None:
    named = [name for names in cli.SECTIONS.values() for name in names]
    assert sorted(named) == sorted(cli.cli.commands)
    shown = invoke("--help").output
    for title, names in cli.SECTIONS.items():
        assert f"\n{title}:\n" in shown
        assert all(f"\n  {name} " in shown for name in names)


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_a_command_with_its_matrix_as_choices(name: str) -> None:
    stage = STAGES[name]
    words = stage["cmd"].split()
    assert words[:2] == ["recitative", name]
    command = cli.cli.commands[name]
    assert command.help
    if "matrix" not in stage:
        assert words[2:] == []
        return
    [argument] = [p for p in command.params if isinstance(p, click.Argument)]
    assert isinstance(argument.type, click.Choice)
    cells = [""]
    template = words[2].replace("${item.", "{").replace("}", "}")
    names = list(stage["matrix"])
    values = [dict()]
    for key in names:
        values = [{**one, key: value} for one in values for value in stage["matrix"][key]]
    cells = [template.format(**one) for one in values]
    assert set(cells) == set(argument.type.choices)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_parameters_that_there_are(name: str) -> None:
    values = load_params(Path(PARAMS)).model_dump()
    for dotted in STAGES[name].get("params", []):
        found: Any = values
        for part in dotted.split("."):
            assert part in found, dotted
            found = found[part]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_its_own_module(name: str) -> None:
    root = Path(PARAMS).parent
    deps = STAGES[name]["deps"]
    assert f"src/recitative/stages/{name}.py" in deps
    for path in deps:
        if path.startswith("src/"):
            assert (root / path).exists(), path


@pytest.mark.parametrize(
    "arguments",
    [
        ("pretrain", "deu"),
        ("pretrain",),
        ("transfer", "eng2mix"),
        ("controls", "mix"),
        ("predict",),
        ("agreement", "--level", "fuzzy"),
        ("nonsense",),
        ("index", "--params", "."),
    ],
)
def test_a_wrong_command_is_told_how_it_is_used(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.output
    assert "Error:" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        *(("pretrain", language) for language in SPEECH),
        ("transfer", "eng2man"),
        ("controls", "eng"),
        *((name,) for name in ("index", "split", "featurize", "evaluate", "register", "agreement")),
        ("claims",),
        ("report",),
        ("summary",),
        ("audit", "data"),
        ("audit", "splits"),
    ],
)
@pytest.mark.parametrize("build", [False, True])
def test_out_of_order_a_command_says_what_is_missing(
    arguments: tuple[str, ...], build: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with params.yaml alone: one line, and nothing is written but the tracking store."""
    if arguments[0] not in cli.cli.commands:
        pytest.skip(f"{arguments[0]} is not there")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    if build:
        (tmp_path / "build").mkdir()
        (tmp_path / "data").mkdir()
    result = invoke(*arguments, *(() if arguments == ("audit", "splits") else ("--params", PARAMS)))
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, UserError), repr(result.exception)
    assert "\n" not in str(result.exception)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("arguments", [("index",), ("params",), ("summary",)])
def test_without_params_the_file_is_named(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "params.yaml: no such file; run in the project's own folder"


def test_the_values_in_force_say_where_they_come_from() -> None:
    lines = invoke("params", "--params", PARAMS).output.splitlines()
    told = {line.split()[0]: line.split(maxsplit=2)[-1] for line in lines}
    assert told["pretrain.epochs"].endswith("size: demo")
    assert told["cpc.negatives"].endswith("protocol: corrected")
    assert told["features.n_fft"].endswith("params.yaml")


def test_an_error_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recitative.cli", "params"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: params.yaml: no such file; run in the project's own folder\n"


def test_a_wrong_scale_is_told() -> None:
    result = invoke(
        "agreement", "x.csv", "--rater", "r", "--unit", "u", "--values", "v", "--scale", "1-5"
    )
    assert str(result.exception) == "--scale 1-5: two numbers with a comma, for example 1,5"


def test_help_and_version_load_nothing_heavy() -> None:
    """The command line answers at once: no torch, no MLflow for what needs neither."""
    code = (
        "import sys; from recitative.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "cli.main(['predict', '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'mlflow', 'pandas', 'librosa'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "corpus" in done.stdout


def test_a_stage_in_a_copy_of_the_project_runs_the_copys_code(tmp_path: Path) -> None:
    """DVC hashes the copy's; the installed command would run another one, edited meanwhile."""
    package = tmp_path / "src" / "recitative"
    shutil.copytree(Path(cli.__file__).parent, package, ignore=shutil.ignore_patterns("*cache*"))
    about = package / "__init__.py"
    about.write_text(about.read_text().replace('__version__ = "', '__version__ = "copy of '))
    told = {}
    for stage in (None, "train"):
        environment = {name: text for name, text in os.environ.items() if name != "DVC_STAGE"}
        done = subprocess.run(
            [sys.executable, "-m", "recitative.cli", "--version"], cwd=tmp_path, text=True,
            env=environment | ({"DVC_STAGE": stage} if stage else {}), capture_output=True,
        )  # fmt: skip
        told[stage] = done.stdout
    assert "copy of" not in told[None]
    assert "copy of" in told["train"]
