"""`recitative summary`: scores, answers and models, for the screen or for the README."""

import os
import platform
from datetime import date
from pathlib import Path

import click

from recitative.corpora.demo import is_synthetic
from recitative.errors import UserError
from recitative.experiment import places
from recitative.experiment.labels import provenance
from recitative.files import atomic_path
from recitative.params import Params
from recitative.reports.results import read_ceilings
from recitative.reports.summary import contradictions, summary_block, summary_text, with_block
from recitative.stages.report import evaluated_cells, json_or, told_answers

SCREEN = "-"  # in place of a file


def run(params: Params, markdown: str | None, check: Path | None) -> None:
    """Print the short of it; or write it into a file between two markers; or compare it with those.

    Raises:
        UserError: there are no results yet; the file has no markers; or, of `check`, it says something
            else than this run.
    """
    cells = evaluated_cells()
    answers = told_answers()
    decisions = json_or(places.REGISTRY / "decision.json", [])
    if check:
        if wrong := contradictions(_text(check), decisions, answers, check):
            command = f"recitative summary --markdown {check}"
            raise UserError(f"{'; '.join(wrong)}; `{command}` writes what this run says")
        click.echo(f"{check}: its answers and models are those of this run")
        return
    synthetic = is_synthetic(places.DATA, places.INDEX)
    ceilings = read_ceilings(json_or(places.AGREEMENT / "agreement.json", {}))
    if not markdown:
        page = places.REPORT / "index.html"
        click.echo(summary_text(cells, decisions, synthetic, page, ceilings, answers))
        return
    sha = provenance("report")["git_sha"]
    commit = "no commit" if sha.startswith("none") else f"commit {sha[:12]}"
    made = (
        f"Size {params.size}, protocol {params.protocol}, {machine()}, {date.today().isoformat()}, "
        f"{commit}; written by `recitative summary --markdown`."
    )
    block = summary_block(cells, decisions, synthetic, ceilings, answers, made)
    if markdown == SCREEN:
        click.echo(block)
        return
    path = Path(markdown)
    text = with_block(_text(path), block, path)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"{path}: its summary is that of this run")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a text file") from error


def machine() -> str:
    """E.g. ``2 cores of an AMD EPYC 9R14``."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {name}"
