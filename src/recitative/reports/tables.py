"""Tables outside of the page: LaTeX for a paper, and plain text for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recitative.reports.matrix import ARCHS, COLUMNS, MARKS, PRINTED_BY, PaperTable
from recitative.reports.results import Cell, Scores, grouped, mode_name, music_name
from recitative.vocabulary import LANGUAGES, SPEECH

SYNTHETIC = "synthetic corpus: these numbers say that the platform works, nothing about language"
_LATEX = str.maketrans(
    {
        "−": "$-$", "±": r"$\pm$", "–": "--", "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$",
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
        "macro over songs, mean over repeats, 95 % interval). ▲ ▼: better or worse than the same "
        "without pretraining, corrected (quadrants)."
    )
    return _latex(
        "matrix", caption, synthetic, number=table.number, sections=table.sections, archs=ARCHS,
        columns=COLUMNS, marks=MARKS,
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
        caption += f" {SYNTHETIC[0].upper()}{SYNTHETIC[1:]}."
    return environment.get_template(f"{name}.tex.j2").render(caption=caption, **content)


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return text.translate(_LATEX)


def bounds(figure: Scores) -> str:
    """``[0.41, 0.83]``; empty where there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{figure.low:.2f}, {figure.high:.2f}]"


def summary_text(
    cells: Sequence[Cell],
    decisions: Sequence[Mapping[str, Any]],
    synthetic: bool,
    page: Path,
    ceilings: Ceilings | None = None,
) -> str:
    """The results as plain text: modes × pairings and controls, promoted models, the report's path.

    `decisions` is the content of decision.json, empty where nothing was registered. Lines have at
    most 80 characters, but for a registry's own reasons.
    """
    songs = {cell.music: cell.songs for cell in cells}
    sets = list(songs)
    lines = [SYNTHETIC, ""] if synthetic else []
    repeats = max(cell.repeats for cell in cells)
    archs = "/".join(dict.fromkeys(cell.arch.upper() for cell in cells))
    lines += [
        f"Quadrant macro F at song level, {archs}, mean of {repeats} repeats, [95 % interval]",
        f"{'':32}" + "".join(f"{music_name(music):22}" for music in sets),
        f"{'':32}" + "".join(f"{songs[music]} test songs".ljust(22) for music in sets),
    ]
    by_set = {music: grouped(cells, music) for music in sets}
    for group in dict.fromkeys(name for groups in by_set.values() for name in groups):
        lines.append(group)
        rows: dict[str, dict[str, Cell]] = {}
        for music in sets:
            for cell in by_set[music].get(group, []):
                rows.setdefault(cell.name, {})[music] = cell
        for name in sorted(rows, key=_speech_first):
            found = [rows[name].get(music) for music in sets]
            shown = [f"{c.quadrant.f1:.2f} {bounds(c.quadrant)}" if c else "-" for c in found]
            lines.append(f"  {name:30}" + "".join(f"{text:22}" for text in shown))
    of_listeners = [(ceilings or {}).get(music, {}).get("quadrant") for music in sets]
    if any(of_listeners):
        shown = [f"{one.f1:.2f} {bounds(one)}" if one else "-" for one in of_listeners]
        lines += ["Listeners", f"  {CEILING:30}" + "".join(f"{text:22}" for text in shown)]
    lines += [""] + [_promotion(decision) for decision in decisions]
    if not decisions:
        lines.append("No model was registered.")
    lines.append(f"Report: {page}")
    return "\n".join(line.rstrip() for line in lines)


def _speech_first(name: str) -> int:
    """English, Mandarin, mixed in this order whatever the music; controls keep theirs."""
    speeches = [f"{LANGUAGES[language]} speech" for language in SPEECH]
    return speeches.index(name) if name in speeches else len(speeches)


def _promotion(decision: Mapping[str, Any]) -> str:
    chosen = decision["candidate"]
    line = (
        f"{decision['model']} version {decision['version']}: {decision['alias']} "
        f"({chosen['pairing']}, {chosen['transfer_mode']}, {chosen['members']} networks averaged)"
    )
    failed = [gate["reason"] for gate in decision["gates"] if not gate["passed"]]
    why = "not champion" if decision["alias"] == "challenger" else "although"
    return line + (f"; {why}: {'; '.join(failed)}" if failed else "")
