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
from recitative.vocabulary import MUSIC, PAIRINGS, SPEECH

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


class _Commands(click.Group):
    """Commands that say in one line what keeps the MLflow store from being used."""

    def invoke(self, ctx: click.Context) -> Any:
        from recitative.tracking.store import readable_store

        with readable_store():
            return super().invoke(ctx)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__)
def cli() -> None:
    """Speech pretraining for emotion in music, within and across languages."""


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 1."""
    _run_the_code_that_dvc_hashed()
    try:
        cli()
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _run_the_code_that_dvc_hashed() -> None:
    """Start again with the code of this folder, where DVC runs a stage in a copy of the project.

    DVC hashes the copy's code. The installed command would run the project's own, which may have been
    edited since the experiment was queued.
    """
    here = Path("src").resolve()
    code = here / "recitative" / "cli.py"
    if "DVC_STAGE" in os.environ and code.is_file() and not code.samefile(__file__):
        path = os.pathsep.join(filter(None, (str(here), os.environ.get("PYTHONPATH"))))
        os.environ["PYTHONPATH"] = path
        os.execv(sys.executable, [sys.executable, "-m", "recitative.cli", *sys.argv[1:]])


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


@_stage(
    "search",
    click.option("--join", is_flag=True, help="Help a search on the same storage; write nothing."),
    click.option("--where", is_flag=True, help="Print the study's storage, and do nothing."),
)
def search() -> None:
    """Search the pretraining's parameters: build/search/."""


@_stage("pretrain", click.argument("language", type=click.Choice(SPEECH)))
def pretrain() -> None:
    """Pretrain on the speech of one LANGUAGE: build/pretrain/LANGUAGE/."""


@_stage("transfer", click.argument("pairing", type=click.Choice(PAIRINGS)))
def transfer() -> None:
    """Transfer to music, PAIRING by pairing: build/transfer/PAIRING/."""


@_stage("controls", click.argument("music", metavar="LANGUAGE", type=click.Choice(MUSIC)))
def controls() -> None:
    """Run the controls on the music of one LANGUAGE: build/controls/LANGUAGE/."""


@_stage("evaluate")
def evaluate() -> None:
    """Score and compare: build/evaluate/."""


@_stage("claims")
def claims() -> None:
    """Judge every claim of the paper, with earlier experiments' runs: build/claims/."""


@_stage("register")
def register() -> None:
    """Register the best model of each music language, and promote it if it may: build/registry/."""


@_stage(
    "report",
    click.option(
        "--check-controls", is_flag=True, help="Only exit 1 where a control is missing in a table."
    ),
)
def report() -> None:
    """Write the report: build/report/index.html."""


@cli.command("params")
@PARAMS
def show_params(params_file: Path) -> None:
    """Print every value in force and where it comes from."""
    from recitative.params import flatten, load_with_origins

    params, origins = load_with_origins(params_file)
    values = flatten(params.model_dump(mode="json"))
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:{width}}  {value!s:24}  {origins.get(name, 'default')}")


@cli.group()
def audit() -> None:
    """Check the data, or that no split leaks."""


@audit.command("data")
@PARAMS
def audit_data(params_file: Path) -> None:
    """Print what each role has: hours, groups, classes, and every file with a problem."""
    from recitative.commands.audit import data
    from recitative.params import load_params

    data(load_params(params_file))


@audit.command("splits")
def audit_splits() -> None:
    """Exit 1 if a clip, a group or the same audio stands in two parts of a split."""
    from recitative.commands.audit import splits

    if splits():
        sys.exit(1)


@audit.command("published")
def audit_published() -> None:
    """Recount the paper's printed tables: what was averaged, which rows are swapped."""
    from recitative.evaluation.published import audit_published as recount
    from recitative.evaluation.published import format_findings

    click.echo(format_findings(recount()))


@cli.group()
def protocol() -> None:
    """What `protocol: corrected | paper | released` means."""


@protocol.command("diff")
@click.argument("first")
@click.argument("second")
def protocol_diff(first: str, second: str) -> None:
    """Print each parameter that FIRST and SECOND set differently, and its row (docs/protocols.md)."""
    from recitative.switches import protocol_diff as differing

    table = [("parameter", first, second, "row")]
    table += [(d.parameter, str(d.first), str(d.second), d.row) for d in differing(first, second)]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


ENDPOINT = click.option(
    "--endpoint-url", envvar="AWS_ENDPOINT_URL", help="Of a server that is not Amazon's."
)


@cli.group()
def remote() -> None:
    """A group's place on S3."""


@remote.command("check")
@click.argument("address", metavar="s3://BUCKET/PREFIX")
@ENDPOINT
def remote_check(address: str, endpoint_url: str | None) -> None:
    """Prove by trying that credentials, bucket, listing, conditional writes and all else work."""
    from recitative.commands.share import run_check

    run_check(address, endpoint_url)


@cli.command()
@click.argument("model", metavar="models:/NAME@ALIAS")
@click.argument("address", metavar="s3://BUCKET/PREFIX")
@click.option(
    "--song",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its answer goes with the model.",
)
@ENDPOINT
def publish(model: str, address: str, song: Path | None, endpoint_url: str | None) -> None:
    """Put a registered model on S3, as a bundle with hashes that never changes."""
    from recitative.commands.share import run_publish

    run_publish(model, address, song, endpoint_url)


@cli.command()
@click.argument("version", metavar="NAME/NUMBER")
def promote(version: str) -> None:
    """Make a registered version champion, for example mer-eng/3; first show how it compares."""
    from recitative.commands.promote import run

    run(version)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    help="mer-eng, mer-man/3, mer-eng@champion, s3://bucket/mer-eng/1a2b…, a folder, or one "
    "repeat: build/transfer/eng2eng/full-1-0.safetensors.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the answer there."
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw it there (.png).")
def predict(
    files: tuple[Path, ...], model: str | None, json_file: Path | None, plot_file: Path | None
) -> None:
    """Hear FILES (wav, flac, mp3, ogg; at least 1 s): emotion over time and for the whole."""
    from recitative.commands.predict import run

    if not run(files, model, json_file, plot_file):
        sys.exit(1)


@cli.command()
@click.option("--pairing", type=click.Choice(PAIRINGS), default="eng2eng", show_default=True)
@click.option("--mode", type=click.Choice(["feature_extraction", "full"]), help="Train only this.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there.")
@PARAMS
def faults(pairing: str, mode: str | None, json_file: Path | None, params_file: Path) -> None:
    """What each fault of the released code is worth: mend one at a time (trains, minutes)."""
    from recitative.commands.faults import run

    run(params_file, pairing, mode, json_file)


@cli.command()
@click.argument("overrides", nargs=-1, metavar="NAME=VALUE[,VALUE...]...", required=True)
@click.option("--name", default="grid", show_default=True, help="The experiments: NAME-1, NAME-2.")
def matrix(overrides: tuple[str, ...], name: str) -> None:
    """Run a grid through DVC's queue, wait, and report on all of it (goes on where it was cut)."""
    from recitative.commands.grid import run

    run(name, overrides)


@cli.command()
@click.argument("overrides", nargs=-1, metavar="[NAME=VALUE[,VALUE...]]...")
@PARAMS
def cost(overrides: tuple[str, ...], params_file: Path) -> None:
    """Predict time, memory and disk of a grid, from a calibration on this machine (a minute)."""
    from recitative.commands.cost import run

    run(params_file, overrides)


@cli.command()
@PARAMS
def summary(params_file: Path) -> None:
    """Print the results table, the promoted models and where the report is."""
    from recitative.params import load_params
    from recitative.stages.report import summary as print_summary

    print_summary(load_params(params_file))


@cli.command()
@click.option(
    "--all", "everything", is_flag=True, help="Also what a killed stage would go on from."
)
@click.option("--dry-run", is_flag=True, help="Only print.")
@PARAMS
def clean(everything: bool, dry_run: bool, params_file: Path) -> None:
    """Print the work folders in .recitative/work and remove those that no stage will ask for."""
    from recitative.commands.clean import run
    from recitative.params import load_params

    run(load_params(params_file), everything, dry_run)


@cli.command("use-data")
@click.argument("folder", type=click.Path(path_type=Path))
@PARAMS
def use_data(folder: Path, params_file: Path) -> None:
    """Make FOLDER's corpora this project's data/, versioned with DVC, without touching FOLDER."""
    from recitative.commands.own_data import use
    from recitative.params import load_params

    use(load_params(params_file), folder)


@cli.command("use-demo")
def use_demo() -> None:
    """Make the embedded corpus this project's data/ again."""
    from recitative.commands.own_data import use_demo as back

    back()


@cli.command()
@click.argument("ratings", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--rater", help="Column, or columns with commas, that name the rater.")
@click.option("--unit", help="Column that names what was rated.")
@click.option("--values", help="Columns of answers, with commas.")
@click.option("--wide", multiple=True, help="A wide table: pattern of the raters' columns.")
@click.option("--filter", "filters", multiple=True, help="For example 'understanding>=3'.")
@click.option("--by", help="Column that splits the raters into groups.")
@click.option("--scale", help="Lowest and highest answer there is, for example 1,5.")
@click.option(
    "--level",
    type=click.Choice(["nominal", "ordinal", "interval", "ratio"]),
    default="ordinal",
    show_default=True,
)
@click.option("--recipe", help="Reproduce a study: ismir2020.")
@click.option("--draws", default=1000, show_default=True, help="Bootstrap resamples; 0 for none.")
@click.option("--seed", default=2021, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there.")
@click.option("--plots", type=click.Path(path_type=Path), help="Draw into this folder.")
@PARAMS
def agreement(
    ratings: Path | None,
    rater: str | None,
    unit: str | None,
    values: str | None,
    wide: tuple[str, ...],
    filters: tuple[str, ...],
    by: str | None,
    scale: str | None,
    level: Any,
    recipe: str | None,
    draws: int,
    seed: int,
    json_file: Path | None,
    plots: Path | None,
    params_file: Path,
) -> None:
    """How far do listeners agree? Of a table RATINGS, or (stage) of the music sets' raters."""
    from recitative.stages import agreement as stage

    if ratings is None:
        from recitative.params import load_params

        stage.run(load_params(params_file))
    elif recipe:
        stage.recipe(recipe, ratings, seed, draws, json_file)
    else:
        columns = {
            "rater": _commas(rater),
            "unit": unit,
            "values": _commas(values),
            "wide": wide,
            "filters": filters,
            "by": by,
            "scale": _scale(scale),
            "level": level,
        }
        stage.answer(stage.Question(ratings, **columns), seed, draws, json_file, plots)


def _commas(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--scale {text}: two numbers with a comma, for example 1,5") from error
    return low, high


@cli.group()
def server() -> None:
    """A group's tracking server (docs/team.md)."""


@server.command("start")
@click.option(
    "--database", envvar="RECITATIVE_DATABASE", required=True, help="postgresql://user:pw@host/name"
)
@click.option("--artifacts", required=True, help="Where artifacts lie: s3://BUCKET/PREFIX.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5000, show_default=True)
@click.option("--allowed-host", multiple=True, help="A name under which clients ask; repeat it.")
@click.option("--workers", default=2, show_default=True, help="Processes that answer.")
def server_start(
    database: str, artifacts: str, host: str, port: int, allowed_host: tuple[str, ...], workers: int
) -> None:
    """MLflow's server on PostgreSQL and S3, with passwords, for known hosts only."""
    from recitative.tracking.server import Server, serve

    folder = Path(".recitative") / "server"
    serve(Server(database, artifacts, host, port, allowed_host, workers, folder))


@server.command("add-user")
@click.argument("name")
@click.password_option(envvar="RECITATIVE_PASSWORD", help="At least 12 characters.")
def server_add_user(name: str, password: str) -> None:
    """Let somebody in; MLFLOW_TRACKING_URI names the server, with the admin's password."""
    from recitative.tracking.server import add_user

    add_user(name, password)
    click.echo(f"{name} may read and write; MLFLOW_TRACKING_URI=http://{name}:PASSWORD@HOST:PORT")


if __name__ == "__main__":
    main()
