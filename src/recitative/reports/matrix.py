"""The paper's Tables 1 and 2 with ours beside the published, and scores by setting, as objects.

The published figures are support-weighted averages over segments of one run (C9), and the sections
that they print as arousal and valence are each other's (C10): here a section holds what was measured
in truth.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recitative.evaluation.comparisons import NO_PRETRAINING
from recitative.evaluation.metrics import TASKS
from recitative.evaluation.published import published_tables
from recitative.reports.results import MODES, Cell, Scores, mode_name
from recitative.vocabulary import LANGUAGES, MUSIC, SETTINGS

ARCHS, TRANSFER_MODES = ("scae", "cpc"), ("feature_extraction", "full")
COLUMNS = tuple((arch, mode) for arch in ARCHS for mode in TRANSFER_MODES)
PAPER_ORDER = ("man2man", "eng2man", "mix2man", "eng2eng", "man2eng", "mix2eng")
PRINTED_BY = {"1": "Experiment 1: 3 h of speech", "2": "Experiment 2: 30 h of speech"}

_Key = tuple[str, str, str, str]  # experiment, arch, mode, pairing


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table: printed (weighted), and ours."""

    printed: Scores | None
    ours: Cell | None


@dataclass(frozen=True)
class Line:
    """One row of a section; a control has no printed figure."""

    name: str
    control: bool
    entries: tuple[Entry, ...]  # as `COLUMNS`

    @property
    def run_ids(self) -> list[str]:
        """The MLflow runs of all that stands in it, each once."""
        found = [run for entry in self.entries if entry.ours for run in entry.ours.run_ids]
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's two tables; `experiment` is ours that stands beside it, if there is one."""

    number: str
    experiment: str | None
    speech_hours: float | None  # of ours
    sections: dict[str, list[Line]]  # by task in truth


def paper_tables(cells: Sequence[Cell], experiments: Mapping[str, Any]) -> list[PaperTable]:
    """Both tables; where one amount of speech was run, it stands beside Table 1 alone.

    `experiments` is the content of experiments.json.
    """
    stands_for = experiments.get("stands_for", {})
    by_name = {cell.key: cell for cell in cells}
    printed = _printed()
    tables = []
    for number in ("1", "2"):
        ours = stands_for.get(number)
        if not any(cell.experiment == ours for cell in cells) or (
            number == "2" and ours == stands_for.get("1")
        ):
            ours = None
        sections: dict[str, list[Line]] = {
            task: list(_lines(number, ours or "", task, by_name, printed)) for task in TASKS
        }
        hours = experiments.get("speech_hours", {}).get(ours)
        tables.append(PaperTable(number, ours, hours, sections))
    return tables


def _printed() -> dict[tuple[str, ...], Scores]:
    names = ["experiment", "arch", "transfer_mode", "pairing", "task_in_truth"]
    rows = published_tables().to_dict("records")
    return {
        tuple(str(row[name]) for name in names): Scores(
            row["f1"], None, None, row["precision"], row["recall"]
        )
        for row in rows
    }


def _lines(
    number: str,
    experiment: str,
    task: str,
    cells: Mapping[_Key, Cell],
    printed: Mapping[tuple[str, ...], Scores],
) -> Iterator[Line]:
    for music in ("man", "eng"):
        for pairing in (name for name in PAPER_ORDER if name.endswith(music)):
            entries = []
            for arch, mode in COLUMNS:
                cell = cells.get((experiment, arch, mode, pairing))
                entries.append(
                    Entry(
                        printed.get((number, arch, mode, pairing, task)),
                        cell if cell and (task, "macro") in cell.scores else None,
                    )
                )
            yield Line(pairing, False, tuple(entries))
        none = f"none2{music}"
        controls = [("no speech", NO_PRETRAINING)]
        others = (m for m in MODES if m not in (*TRANSFER_MODES, *NO_PRETRAINING.values()))
        controls += [(mode_name(m), dict.fromkeys(TRANSFER_MODES, m)) for m in others]
        for name, mode_of in controls:
            found = tuple(
                Entry(None, cells.get((experiment, arch, mode_of[mode], none)))
                for arch, mode in COLUMNS
            )
            if any(entry.ours for entry in found):
                yield Line(f"{none}: {name}", True, found)


Panels = Mapping[tuple[str, str], Mapping[tuple[str, str], Sequence[Cell]]]


def by_setting(cells: Sequence[Cell]) -> Panels:
    """Cells by setting: a panel a music set and mode, a series an arch and experiment.

    By (music, mode), then (arch, experiment): cells in the order of `SETTINGS`; `none` is the
    control that differs from the mode by nothing but the pretraining.
    """
    panels: dict[tuple[str, str], dict[tuple[str, str], list[Cell]]] = {
        (music, mode): defaultdict(list) for music in MUSIC for mode in TRANSFER_MODES
    }
    mode_of = {control: mode for mode, control in NO_PRETRAINING.items()}
    for cell in sorted(cells, key=lambda cell: SETTINGS.index(cell.setting)):
        mode = mode_of.get(cell.mode, cell.mode)
        if mode in TRANSFER_MODES and ("quadrant", "macro") in cell.scores:
            panels[cell.music, mode][cell.arch, cell.experiment].append(cell)
    return {key: series for key, series in panels.items() if series}


def series_keys(panels: Panels) -> list[tuple[str, str]]:
    """Every (arch, experiment) that has a series in some panel, in the paper's order of archs."""
    keys = {key for series in panels.values() for key in series}
    known = {arch: place for place, arch in enumerate(ARCHS)}
    return sorted(keys, key=lambda key: (known.get(key[0], len(known)), key))


def csv_rows(table: PaperTable) -> Iterator[dict[str, Any]]:
    """A table as rows of `CSV_COLUMNS`."""
    for task, lines in table.sections.items():
        for line in lines:
            for (arch, mode), entry in zip(COLUMNS, line.entries, strict=True):
                row: dict[str, Any] = {"task": task, "row": line.name, "arch": arch}
                row["transfer_mode"] = mode
                if entry.printed:
                    row |= {f"printed_{n}": getattr(entry.printed, n) for n in _NAMES}
                if entry.ours:
                    for average in ("weighted", "macro"):
                        scores = entry.ours.scores[task, average]
                        row |= {f"{average}_{n}": round(getattr(scores, n), 4) for n in _NAMES}
                    row |= {
                        end: round(value, 4)
                        for end in ("low", "high")
                        if (value := getattr(scores, end)) is not None
                    }
                yield row


_NAMES = ("precision", "recall", "f1")
CSV_COLUMNS = (
    "task", "row", "arch", "transfer_mode",
    *(f"{kind}_{name}" for kind in ("printed", "weighted", "macro") for name in _NAMES),
    "low", "high",
)  # fmt: skip


def series_name(arch: str, experiment: str, cells: Sequence[Cell]) -> str:
    """``SCAE``, with its experiment where there are several."""
    several = len({cell.experiment for cell in cells}) > 1
    return f"{arch.upper()}, {experiment}" if several else arch.upper()


def pairing_name(name: str) -> str:
    """What a reader sees of a row: ``man2man`` as ``Mandarin → Mandarin``."""
    speech, music = name.split(":")[0].split("2")
    if speech == "none":
        return name.split(": ")[1]
    return f"{LANGUAGES[speech]} → {LANGUAGES[music]}"
