"""The short of it: for the screen, for the README, and whether the README still says the same.

What the README says of the demo stands between two markers, which only `recitative summary` writes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from recitative.errors import UserError
from recitative.reports.results import Cell, grouped, music_name
from recitative.reports.tables import CEILING, SYNTHETIC, Ceilings, bounds
from recitative.vocabulary import LANGUAGES, SPEECH

START, END = "<!-- summary -->", "<!-- /summary -->"
_BLOCK = re.compile(f"{re.escape(START)}\n.*?{re.escape(END)}", re.DOTALL)
Decisions = Sequence[Mapping[str, Any]]  # of decision.json
Answers = Sequence[Mapping[str, Any]]  # of answers.json


def summary_text(
    cells: Sequence[Cell],
    decisions: Decisions,
    synthetic: bool,
    page: Path,
    ceilings: Ceilings | None = None,
    answers: Answers = (),
) -> str:
    """The results as plain text: scores, answers, promoted models, the report's path.

    `decisions` is the content of decision.json, empty where nothing was registered; `answers` that of
    answers.json. Lines have at most 80 characters, but for a registry's own reasons.
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
    for group, rows in _rows(cells, sets).items():
        lines.append(group)
        for name, shown in rows.items():
            lines.append(f"  {name:30}" + "".join(f"{one:22}" for one in shown))
    of_listeners = [(ceilings or {}).get(music, {}).get("quadrant") for music in sets]
    if any(of_listeners):
        shown = [f"{one.f1:.2f} {bounds(one)}" if one else "-" for one in of_listeners]
        lines += ["Listeners", f"  {CEILING:30}" + "".join(f"{text:22}" for text in shown)]
    for one in answers:
        lines += ["", f"{one['question']} {one['verdict'].upper()}"]
        lines += wrap(one["sentence"], 78, initial_indent="  ", subsequent_indent="  ")
    lines += [""] + [_promotion(decision) for decision in decisions]
    if not decisions:
        lines.append("No model was registered.")
    lines.append(f"Report: {page}")
    return "\n".join(line.rstrip() for line in lines)


def _rows(cells: Sequence[Cell], sets: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Quadrant macro F with its interval of each music set, by group and row; ``-`` where absent."""
    by_set = {music: grouped(cells, music) for music in sets}
    found = {}
    for group in dict.fromkeys(name for groups in by_set.values() for name in groups):
        rows: dict[str, dict[str, Cell]] = {}
        for music in sets:
            for cell in by_set[music].get(group, []):
                rows.setdefault(cell.name, {})[music] = cell
        found[group] = {
            name: [_score(rows[name].get(music)) for music in sets]
            for name in sorted(rows, key=_speech_first)
        }
    return found


def _score(cell: Cell | None) -> str:
    return f"{cell.quadrant.f1:.2f} {bounds(cell.quadrant)}" if cell else "-"


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


def summary_block(
    cells: Sequence[Cell],
    decisions: Decisions,
    synthetic: bool,
    ceilings: Ceilings,
    answers: Answers,
    made: str,
) -> str:
    """The results in Markdown between the two markers; `made` says where, when and by which code."""
    songs = {cell.music: cell.songs for cell in cells}
    sets = list(songs)
    columns = [f"{music_name(music)}, {songs[music]} test songs" for music in sets]
    lines = [
        START,
        *([f"**{SYNTHETIC}**", ""] if synthetic else []),
        "| question | answer |",
        "|---|---|",
    ]
    lines += [f"| {one['question']} | {one['verdict']} |" for one in answers]
    lines += ["", "| model | registered as |", "|---|---|"]
    lines += [f"| {one['model']} | {one['alias']} |" for one in decisions]
    lines += ["", _row("quadrant macro F, songs", columns), "|---" * (1 + len(sets)) + "|"]
    for group, rows in _rows(cells, sets).items():
        lines.append(_row(f"**{group}**", [""] * len(sets)))
        lines += [_row(name, shown) for name, shown in rows.items()]
    of_listeners = [ceilings.get(music, {}).get("quadrant") for music in sets]
    if any(of_listeners):
        shown = [f"{one.f1:.2f} {bounds(one)}" if one else "-" for one in of_listeners]
        lines += [_row("**Listeners**", [""] * len(sets)), _row(CEILING, shown)]
    archs = "/".join(dict.fromkeys(cell.arch.upper() for cell in cells))
    repeats = max(cell.repeats for cell in cells)
    lines += ["", f"{archs}, mean over {repeats} repeats with its 95 % interval. {made}", END]
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def with_block(text: str, block: str, path: Path) -> str:
    """The text of `path` with what stands between the markers replaced.

    Raises:
        UserError: it has not exactly one such block.
    """
    _only_block(text, path)
    return _BLOCK.sub(lambda _: block, text)


def contradictions(text: str, decisions: Decisions, answers: Answers, path: Path) -> list[str]:
    """What the block of `path` says of answers and models, and this run does not; a line each.

    Raises:
        UserError: it has not exactly one such block.
    """
    stated = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", _only_block(text, path), re.MULTILINE))
    true = {one["question"]: one["verdict"] for one in answers}
    true |= {one["model"]: one["alias"] for one in decisions}
    return [
        f"{name}: this run says {here}, {path} says {stated.get(name, 'nothing')}"
        for name, here in true.items()
        if stated.get(name) != here
    ]


def _only_block(text: str, path: Path) -> str:
    found: list[str] = _BLOCK.findall(text)
    if len(found) != 1:
        raise UserError(
            f"{path}: {len(found)} blocks between {START} and {END}; put the two lines where the "
            "summary shall stand, once"
        )
    return found[0]
