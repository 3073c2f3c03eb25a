"""The command line: thin commands that load the parameters and call one stage."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from recitative import __version__
from recitative.errors import UserError

LANGUAGES = ("eng", "man", "mix")
PAIRINGS = ("eng2eng", "man2eng", "mix2eng", "eng2man", "man2man", "mix2man")

# Threads multiply with processes: one each, before numpy and torch are loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
for _name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

PARAMS = click.option(
    "--params",
    "params_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("params.yaml"),
    show_default=True,
    help="Parameters to use.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Speech pretraining for emotion in music, within and across languages."""


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 1."""
    try:
        cli()
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _stage(name: str, *arguments: Any) -> Callable[[Callable[..., None]], click.Command]:
    """A command that loads params.yaml and calls ``stages.<name>.run``."""

    def decorate(documented: Callable[..., None]) -> click.Command:
        def call(params_file: Path, **given: Any) -> None:
            from recitative.params import load_params

            import_module(f"recitative.stages.{name}").run(load_params(params_file), **given)

        call.__doc__ = documented.__doc__
        command: Any = PARAMS(call)
        for argument in reversed(arguments):
            command = argument(command)
        made: click.Command = cli.command(name)(command)
        return made

    return decorate


@_stage("corpus")
def corpus() -> None:
    """Make the embedded, synthetic corpus: build/corpus/."""


@_stage("index")
def index() -> None:
    """Read what lies in data/: build/index/."""


@_stage("split")
def split() -> None:
    """Balance and divide the clips, and certify that nothing leaks: build/splits/."""


@_stage("featurize")
def featurize() -> None:
    """Compute log-mel frames: build/features/."""


@_stage("pretrain", click.argument("language", type=click.Choice(LANGUAGES)))
def pretrain() -> None:
    """Pretrain on the speech of one LANGUAGE: build/pretrain/LANGUAGE/."""


@_stage("transfer", click.argument("pairing", type=click.Choice(PAIRINGS)))
def transfer() -> None:
    """Transfer to music, PAIRING by pairing: build/transfer/PAIRING/."""


@_stage("controls", click.argument("music", metavar="LANGUAGE", type=click.Choice(["eng", "man"])))
def controls() -> None:
    """Run the controls on the music of one LANGUAGE: build/controls/LANGUAGE/."""


@_stage("evaluate")
def evaluate() -> None:
    """Score and compare: build/evaluate/."""


if __name__ == "__main__":
    main()
