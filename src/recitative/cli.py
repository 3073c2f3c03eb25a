"""The command line: what each command is called, what it takes, and the function that it calls."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
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

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)
PARAMS_FILE = click.option(
    "--params", "params_file", type=_FILE, default=Path("params.yaml"), show_default=True,
    help="Parameters to use.",
)  # fmt: skip
JSON = click.option("--json", "json_file", type=_PATH, help="Write the answer there as JSON.")
ENDPOINT = click.option(
    "--endpoint-url", envvar="AWS_ENDPOINT_URL", help="Of a server that is not Amazon's."
)
ADDRESS = click.argument("address", metavar="s3://BUCKET/PREFIX")


SECTIONS = {  # of the help: every command stands in one
    "Use": ("predict", "serve", "promote", "use-data", "use-demo"),
    "Inspect": ("summary", "params", "protocol", "audit", "agreement"),
    "Plan and try": ("power", "cost", "matrix", "truth", "faults", "clean"),
    "Share": ("publish", "remote", "server"),
    "Pipeline (`dvc repro` runs these)": (
        "corpus", "index", "split", "featurize", "search", "pretrain", "transfer", "controls",
        "evaluate", "claims", "register", "report",
    ),
}  # fmt: skip


class _Commands(click.Group):
    """Commands in sections, which say in one line what keeps the MLflow store from being used."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are for."""
        limit = formatter.width - 6 - max(map(len, self.commands))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                short = [self.commands[name].get_short_help_str(limit) for name in names]
                formatter.write_dl(list(zip(names, short, strict=True)))

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


def _group(name: str, text: str) -> click.Group:
    made = click.Group(name, help=text)
    cli.add_command(made)
    return made


def _add(
    group: click.Group, name: str, target: str, text: str, *takes: Any, params: bool = False
) -> None:
    """A command that calls a function with its options by name, and exits 1 where that gives False.

    `target` is ``module:function``, imported when the command is called; `takes` are click's
    arguments and options; with `params` the function takes those of params.yaml first.
    """

    def call(**given: Any) -> None:
        module, _, function = target.partition(":")
        run = getattr(import_module(f"recitative.{module}"), function or "run")
        before: tuple[Any, ...] = ()
        if params:
            from recitative.params import load_params

            before = (load_params(given.pop("params_file")),)
        process: AbstractContextManager[None] = nullcontext()
        if target == f"stages.{name}" or "DVC_STAGE" in os.environ:
            from recitative.experiment.lifeline import stage_process

            process = stage_process()
        with process:
            if run(*before, **given) is False:
                sys.exit(1)

    call.__doc__ = text
    command: Any = call
    for each in reversed([*takes, PARAMS_FILE] if params else takes):
        command = each(command)
    group.command(name)(command)


_STAGES: dict[str, tuple[Any, ...]] = {  # of dvc.yaml: ``stages.<name>.run``
    "corpus": ("Make the embedded, synthetic corpus: build/corpus/.",),
    "index": ("Read what lies in data/: build/index/.",),
    "split": ("Balance and divide the clips; certify that nothing leaks: build/splits/.",),
    "featurize": ("Compute log-mel frames: build/features/.",),
    "search": (
        "Search the pretraining's parameters: build/search/.",
        click.option("--where", is_flag=True, help="Print where the study is; do nothing."),
    ),
    "pretrain": (
        "Pretrain on the speech of one LANGUAGE: build/pretrain/LANGUAGE/.",
        click.argument("language", type=click.Choice(SPEECH)),
    ),
    "transfer": (
        "Transfer a pretrained encoder to music, one PAIRING: build/transfer/PAIRING/.",
        click.argument("pairing", type=click.Choice(PAIRINGS)),
    ),
    "controls": (
        "Run the controls on the music of one LANGUAGE: build/controls/LANGUAGE/.",
        click.argument("music", metavar="LANGUAGE", type=click.Choice(MUSIC)),
    ),
    "evaluate": ("Score and compare: build/evaluate/.",),
    "claims": ("Judge every claim of the paper, with earlier experiments: build/claims/.",),
    "register": ("Register the best model of each music language: build/registry/.",),
    "report": (
        "Write the report: build/report/index.html.",
        click.option(
            "--check-controls",
            is_flag=True,
            help="Write nothing; exit 1 where a control is missing in a table.",
        ),
    ),
}
for _name, (_text, *_takes) in _STAGES.items():
    _add(cli, _name, f"stages.{_name}", _text, *_takes, params=True)

_add(cli, "params", "commands.parameters", "Print every value in force and where it comes from.",
     PARAMS_FILE)  # fmt: skip
_add(cli, "summary", "commands.summary",
     "Print the scores, the answers, the promoted models and where the report is.",
     click.option("--markdown", metavar="[FILE]", is_flag=False, flag_value="-",
                  help="In Markdown; into FILE, between <!-- summary --> and <!-- /summary -->."),
     click.option("--check", type=_FILE, help="Exit 1 where FILE's block says other answers or models."),
     params=True)  # fmt: skip

_audit = _group("audit", "Check the data, or that no split leaks.")
_add(_audit, "data", "commands.audit:data",
     "Print what each role has: hours, groups, classes, and every file with a problem.",
     params=True)  # fmt: skip
_add(_audit, "splits", "commands.audit:splits",
     "Exit 1 if a clip, a group or the same audio stands in two parts of a split.")  # fmt: skip
_add(_audit, "published", "commands.audit:published",
     "Recount the paper's printed tables: what was averaged, which rows are swapped.")  # fmt: skip

_protocol = _group("protocol", "What `protocol: corrected | paper | released` means.")
_add(_protocol, "diff", "commands.parameters:diff",
     "Print each parameter that FIRST and SECOND set differently, and its row (docs/protocols.md).",
     click.argument("first"), click.argument("second"))  # fmt: skip

_add(cli, "faults", "commands.faults",
     "Measure what each fault of the released code is worth, one at a time (trains, minutes).",
     click.option("--pairing", type=click.Choice(PAIRINGS), default="eng2eng", show_default=True),
     click.option("--mode", type=click.Choice(["feature_extraction", "full"]), help="Train only this."),
     JSON, PARAMS_FILE)  # fmt: skip
_add(cli, "truth", "commands.truth",
     "Plant known effects, run the whole loop on them, and compare the verdicts with the truth "
     "(trains, minutes).",
     click.option("--seed", "seeds", multiple=True, type=int, default=(1,), show_default=True,
                  help="Of a corpus and all trainings; repeat it."),
     click.option("--arch", "archs", multiple=True, default=("emotion",), show_default=True,
                  help="What is pretrained; repeat it."),
     click.option("--small", is_flag=True, help="Fewer songs and epochs: a quick check."),
     PARAMS_FILE)  # fmt: skip
_add(cli, "matrix", "commands.grid",
     "Run a grid through DVC's queue, wait, and report on all of it (goes on where it was cut).",
     click.argument("overrides", nargs=-1, metavar="NAME=VALUE[,VALUE...]...", required=True),
     click.option("--name", default="grid", show_default=True,
                  help="The experiments: NAME-1, NAME-2."))  # fmt: skip
_add(cli, "cost", "commands.cost",
     "Predict time, memory and disk of a grid, from a calibration on this machine (a minute).",
     click.argument("overrides", nargs=-1, metavar="[NAME=VALUE[,VALUE...]]..."),
     PARAMS_FILE)  # fmt: skip
_add(cli, "power", "commands.power",
     "Print the smallest difference that songs and repeats can show (before training, too).",
     click.argument("overrides", nargs=-1, metavar="[NAME=VALUE]..."),
     click.option("--songs", type=int, help="Test songs of a music set; else as the parameters have it."),
     click.option("--repeats", type=int, help="Trainings of a cell; else transfer.repeats."),
     click.option("--points", type=float, default=5.0, show_default=True,
                  help="The difference to tell how many songs it takes."),
     PARAMS_FILE)  # fmt: skip
_add(cli, "clean", "commands.clean",
     "Print the work folders in .recitative/work and remove those that no stage will ask for.",
     click.option("--all", "everything", is_flag=True, help="Also what a killed stage would go on from."),
     click.option("--dry-run", is_flag=True, help="Only print."),
     click.option("--locks", is_flag=True, help="Only mend DVC's own files, after a kill."),
     params=True)  # fmt: skip
_add(cli, "use-data", "commands.own_data:use",
     "Make FOLDER's corpora this project's data/, versioned with DVC, without touching FOLDER.",
     click.argument("folder", type=_PATH), params=True)  # fmt: skip
_add(cli, "use-demo", "commands.own_data:use_demo",
     "Make the embedded corpus this project's data/ again.")  # fmt: skip

_add(cli, "predict", "commands.predict",
     "Predict the emotion of audio FILES (wav, flac, mp3, ogg; 1 s or longer), second by second and "
     "overall.",
     click.argument("files", nargs=-1, required=True, type=_PATH),
     click.option("--model", help="mer-eng, mer-man/3, mer-eng@champion, s3://bucket/mer-eng/1a2b…, a "
                  "folder, or one repeat: build/transfer/eng2eng/full-1-0.safetensors."),
     JSON, click.option("--plot", "plot_file", type=_PATH, help="Draw it there (.png)."))  # fmt: skip
_add(cli, "serve", "commands.serve",
     "Serve a page to hear emotion while a song plays, and a REST API (docs/serve.md).",
     click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
     click.option("--port", default=8000, show_default=True),
     click.option("--allowed-host", "allowed_hosts", multiple=True,
                  help="A name under which browsers may ask; repeat it."),
     click.option("--max-mb", "megabytes", type=click.IntRange(1), default=64, show_default=True,
                  help="Largest file that is taken."),
     click.option("--max-seconds", "seconds", type=click.IntRange(1), default=600,
                  show_default=True, help="Longest song that is taken."),
     click.option("--workers", type=click.IntRange(1), default=2, show_default=True,
                  help="Songs at work at a time."),
     PARAMS_FILE)  # fmt: skip
_add(cli, "promote", "commands.promote",
     "Make a registered version champion, for example mer-eng/3; first show how it compares.",
     click.argument("address", metavar="NAME/NUMBER"))  # fmt: skip
_add(cli, "publish", "commands.share:run_publish",
     "Put a registered model on S3, as a bundle with hashes that never changes.",
     click.argument("model", metavar="models:/NAME@ALIAS"), ADDRESS,
     click.option("--song", type=_FILE, help="Its answer goes with the model."), ENDPOINT)  # fmt: skip
_remote = _group("remote", "A group's place on S3.")
_add(_remote, "check", "commands.share:run_check",
     "Prove by trying that credentials, bucket, listing, conditional writes and all else work.",
     ADDRESS, ENDPOINT)  # fmt: skip

_add(cli, "agreement", "commands.agreement",
     "Measure how far listeners agree: of a table RATINGS, or (stage) of the music sets' raters.",
     click.argument("ratings", required=False, type=_FILE),
     click.option("--rater", help="Column, or columns with commas, that name the rater."),
     click.option("--unit", help="Column that names what was rated."),
     click.option("--values", help="Columns of answers, with commas."),
     click.option("--wide", multiple=True, help="A wide table: pattern of the raters' columns."),
     click.option("--filter", "filters", multiple=True, help="For example 'understanding>=3'."),
     click.option("--by", help="Column that splits the raters into groups."),
     click.option("--scale", help="Lowest and highest answer there is, for example 1,5."),
     click.option("--level", type=click.Choice(["nominal", "ordinal", "interval", "ratio"]),
                  default="ordinal", show_default=True),
     click.option("--recipe", help="Reproduce a study: ismir2020."),
     click.option("--draws", default=1000, show_default=True, help="Bootstrap resamples; 0: none."),
     click.option("--seed", default=2021, show_default=True),
     JSON, click.option("--plots", type=_PATH, help="Draw into this folder."), PARAMS_FILE)  # fmt: skip

_server = _group("server", "A group's tracking server (docs/team.md).")
_add(_server, "start", "tracking.server:start",
     "Start MLflow's server on PostgreSQL and S3, with passwords, for known hosts only.",
     click.option("--database", envvar="RECITATIVE_DATABASE", required=True,
                  help="postgresql://user:pw@host/name"),
     click.option("--artifacts", required=True, help="Where artifacts lie: s3://BUCKET/PREFIX."),
     click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
     click.option("--port", default=5000, show_default=True),
     click.option("--allowed-host", "allowed_hosts", multiple=True,
                  help="A name under which clients ask; repeat it."),
     click.option("--workers", default=2, show_default=True, help="Processes that answer."))  # fmt: skip
_add(_server, "add-user", "tracking.server:add_user",
     "Let somebody in; MLFLOW_TRACKING_URI names the server, with the admin's password.",
     click.argument("name"),
     click.password_option(envvar="RECITATIVE_PASSWORD", help="At least 12 characters."))  # fmt: skip


if __name__ == "__main__":
    main()
