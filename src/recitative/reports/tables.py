"""LaTeX tables for a paper, and what a score and its interval look like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recitative.reports.matrix import ARCHS, COLUMNS, PRINTED_BY, PaperTable
from recitative.reports.results import Cell, Scores, grouped, mode_name, music_name

SYNTHETIC = "Synthetic data: use these numbers to check the installation, not to draw conclusions."
_LATEX = str.maketrans(
    {
        "−": "$-$", "±": r"$\pm$", "–": "--",
        "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    }
)  # fmt: skip


CEILING = "one listener against the rest"
Ceilings = Mapping[str, Mapping[str, Scores]]  # by music set and task


def latex_table(
    cells: Sequence[Cell], music: str, task: str, synthetic: bool, ceilings: Ceilings | None = None
) -> str:
    """A floating table of F at song level, for the package booktabs.

    The caption says where the corpus is made up; a set without several raters has no ceiling.
    """
    groups = grouped(cells, music)
    shown = [cell for group in groups.values() for cell in group]
    repeats = max(cell.repeats for cell in shown)
    caption = (
        f"{music_name(music)}, {task}: F at song level, {shown[0].songs} songs, mean of {repeats} "
        f"repeats ({shown[0].arch.upper()}). In brackets 95 % intervals of the macro average, "
        "songs and repeats resampled."
    )
    return _latex(
        "table", caption, synthetic, music=music, task=task, groups=groups, ceiling_name=CEILING,
        ceiling=(ceilings or {}).get(music, {}).get(task),
    )  # fmt: skip


def latex_matrix(table: PaperTable, synthetic: bool) -> str:
    """One of the paper's two tables as a floating one for booktabs: printed F, ours with interval."""
    caption = (
        f"{PRINTED_BY[table.number]}. F as printed (P: weighted over segments, one run) and ours (O: "
        "macro over songs, mean over repeats, 95 % interval)."
    )
    return _latex(
        "matrix", caption, synthetic, number=table.number, sections=table.sections, archs=ARCHS,
        columns=COLUMNS,
    )  # fmt: skip


def _latex(name: str, caption: str, synthetic: bool, **content: Any) -> str:
    """The template ``<name>.tex.j2``; its marks are round, since LaTeX's are curly."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        block_start_string="((*",
        block_end_string="*))",
        variable_start_string="(((",
        variable_end_string=")))",
        comment_start_string="((#",
        comment_end_string="#))",
    )
    environment.filters |= {"tex": escape, "bounds": bounds, "mode": mode_name}
    if synthetic:
        caption += f" {SYNTHETIC}"
    return environment.get_template(f"{name}.tex.j2").render(caption=caption, **content)


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return text.translate(_LATEX)


def bounds(figure: Scores) -> str:
    """``[0.41, 0.83]``; empty where there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{figure.low:.2f}, {figure.high:.2f}]"
