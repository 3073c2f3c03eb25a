"""The page: one file that stands by itself, from what the stages wrote."""

import base64
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure as Picture

from recitative.drawing import confusions_figure, row_shares
from recitative.evaluation.answers import QUESTIONS
from recitative.evaluation.comparisons import NO_PRETRAINING
from recitative.evaluation.metrics import LABELS, TASKS
from recitative.files import atomic_path, write_csv
from recitative.reports import figures, matrix, results
from recitative.reports.matrix import PaperTable
from recitative.reports.results import Cell, Comparison
from recitative.reports.tables import SYNTHETIC, bounds, latex_matrix, latex_table
from recitative.vocabulary import LANGUAGES, PAIRINGS, SETTINGS

HERE = Path(__file__).parent
PACKAGES = ("recitative", "torch", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "librosa")
MOST_PROBLEMS = 20  # of one role that are listed; all are counted
QUADRANT_NAMES = {
    "Q1": "happy, excited (A+V+)",
    "Q2": "angry, tense (A+V−)",
    "Q3": "sad, bored (A−V−)",
    "Q4": "calm, content (A−V+)",
}

Confusions = Mapping[str, Mapping[str, Sequence[Sequence[int]]]]
Histories = Mapping[str, Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class MlflowLinks:
    """Where `mlflow ui` answers, and the experiment that the runs are in."""

    base: str  # address of the server, e.g. ``http://127.0.0.1:5000``
    experiment_id: str  # MLflow's number of the experiment

    def compare(self, run_ids: Sequence[str]) -> str:
        """The page that sets these runs beside each other; of one run, its own page."""
        if len(run_ids) == 1:
            return f"{self.experiment}/{run_ids[0]}"
        runs, experiments = (
            quote(json.dumps(ids, separators=(",", ":")))
            for ids in (list(run_ids), [self.experiment_id])
        )
        return f"{self._root}/compare-runs?runs={runs}&experiments={experiments}"

    @property
    def experiment(self) -> str:
        """The table of all runs."""
        return f"{self._root}/experiments/{self.experiment_id}/runs"

    @property
    def _root(self) -> str:
        return f"{self.base.rstrip('/')}/#"


@dataclass(frozen=True)
class Content:
    """What the stages wrote, read; what is absent is empty."""

    cells: Sequence[Cell]  # every cell and control
    comparisons: Sequence[Comparison]  # the paired ones
    synthetic: bool  # whether the corpus is the embedded one
    params: Mapping[str, Any]  # every parameter in force, nested
    average: str  # which stands first, `macro` or `weighted`
    provenance: Mapping[str, str]  # git_sha, git_dirty and dvc_experiment of this report
    confusions: Confusions = field(default_factory=dict)  # by pairing and mode, (4, 4) song counts
    histories: Histories = field(default_factory=dict)  # of history.csv, by language of speech
    certificate: Mapping[str, Any] = field(default_factory=dict)  # certificate.json
    problems: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)  # by role
    alpha: Sequence[Mapping[str, Any]] = ()  # rows of alpha.csv, numbers or None
    listeners: Mapping[str, Any] = field(default_factory=dict)  # agreement.json, by music language
    pictures: Sequence[tuple[str, Path]] = ()  # of agreement: caption and PNG file
    claims: Sequence[Mapping[str, Any]] = ()  # claims.json
    answers: Sequence[Mapping[str, Any]] = ()  # answers.json
    truth: Sequence[Mapping[str, Any]] = ()  # truth.json, of `recitative truth`
    power: Sequence[Mapping[str, Any]] = ()  # rows of power.csv, numbers or None
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # why, by music, control
    decisions: Sequence[Mapping[str, Any]] = ()  # decision.json
    runs: Mapping[str, str] = field(default_factory=dict)  # ids by cell, e.g. ``eng2eng full 0``
    earlier: Sequence[Mapping[str, Any]] = ()  # of `tracking.past_runs`, this run's too
    labels: Sequence[Mapping[str, Any]] = ()  # rows of `comparisons.compare_labels`
    searched: bool = False  # whether the page of the search, search.html, lies beside this one
    matrix: Sequence[Cell] = ()  # of every experiment on the same songs, this one among them
    # comparisons of the matrix by experiment and arch, corrected over all
    matrix_tests: Mapping[tuple[str, str], Sequence[Comparison]] = field(default_factory=dict)
    experiments: Mapping[str, Any] = field(default_factory=dict)  # experiments.json
    overall: Mapping[str, Any] = field(default_factory=dict)  # overall.json
    curves: Mapping[tuple[str, str], Histories] = field(default_factory=dict)  # other experiments'
    faults: Sequence[Mapping[str, Any]] = ()  # each file in build/faults/
    mlflow: MlflowLinks | None = None  # where the runs can be looked at


def write_report(content: Content, folder: Path) -> Path:
    """Write ``index.html``, ``figures/*.png``, ``tables/*.tex`` and ``*.csv``; return the page."""
    for name, picture in _pictures(content).items():
        with atomic_path(folder / "figures" / f"{name}.png") as temporary:
            picture.savefig(temporary, dpi=200, metadata={"Software": None})
    ceilings = results.read_ceilings(content.listeners)
    texts = {
        f"tables/{music}-{task}.tex": latex_table(
            content.cells, music, task, content.synthetic, ceilings
        )
        for music in dict.fromkeys(cell.music for cell in content.cells)
        for task in TASKS
    }
    for table in _tables(content):
        name = f"tables/table-{table.number}"
        write_csv(folder / f"{name}.csv", matrix.CSV_COLUMNS, matrix.csv_rows(table))
        texts[f"{name}.tex"] = latex_matrix(table, content.synthetic)
    for name, text in (texts | {"index.html": render(content)}).items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / "index.html"


def effect(claim: Mapping[str, Any]) -> str:
    """A claim's effect with its interval and unit, or a dash where nothing could be measured."""
    if claim["effect"] is None:
        return "–"
    digits = 1 if "points" in claim["unit"] else 2
    value, low, high = (f"{claim[name]:+.{digits}f}" for name in ("effect", "low", "high"))
    unit = claim["unit"].removesuffix(" of macro F")
    return f"{value} [{low}, {high}] {unit}".replace("-", "−")


def code(text: str) -> Markup:
    """What stands between backticks as code."""
    parts = enumerate(text.split("`"))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in parts
    )


def environment() -> Environment:
    """The page's templates, with what they write numbers and names with."""
    found = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "f": lambda value: f"{value:.2f}",
        "p": p_value,
        "effect": effect,
        "code": code,
        "bounds": bounds,
        "percent": lambda share: f"{100 * share:.0f}",
        "at": position,
        "prf": lambda scores: " ".join(
            f"{n:.2f}".lstrip("0") for n in (scores.precision, scores.recall, scores.f1)
        ),
        "signed": results.signed,
        "pairing": matrix.pairing_name,
        "mode": results.mode_name,
        "music": results.music_name,
        "language": lambda name: LANGUAGES.get(name, name),
        "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
        "yaml": lambda values: yaml.safe_dump(values, sort_keys=False, allow_unicode=True),
    }
    return found


def render(content: Content) -> str:
    """The page as HTML: nothing is fetched from elsewhere, and all can be read without its script."""
    averages = ("weighted", "macro") if content.average == "weighted" else ("macro", "weighted")
    mine = set(content.runs.values())
    present = [row for row in content.earlier if mine & set(row["run_ids"])]  # this very run's
    own = content.params["pretrain"]["arch"], content.params["experiment"]
    text = (
        environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            css=(HERE / "report.css").read_text(encoding="utf-8"),
            script=(HERE / "report.js").read_text(encoding="utf-8"),
            counted=Counter(claim["verdict"] for claim in content.claims),
            planted=truth_table(content.truth),
            power=power_lines(content.power),
            compare=content.mlflow.compare if content.mlflow else None,
            **_matrix(content),
            synthetic=SYNTHETIC if content.synthetic else "",
            sets=list(dict.fromkeys(cell.music for cell in content.cells)),
            grouped=results.grouped,
            majority=results.majority,
            left_out=left_out(content.missing),
            every_score=partial(every_score, content.matrix or content.cells),
            highest=highest(content.matrix or content.cells),
            panels=confusion_panels,
            curves=curves,
            curve_groups=({own: content.histories} if content.histories else {})
            | dict(content.curves),
            history=earlier_table(content.earlier, present),
            made_by={
                name: sorted({value for row in present for value in row[name]} - {"unknown"})
                for name in ("devices", "git_shas")
            },
            versions={name: version(name) for name in PACKAGES},
            tasks=TASKS,
            averages=averages,
            quadrants=LABELS["quadrant"],
            quadrant_names=QUADRANT_NAMES,
            ceilings=results.read_ceilings(content.listeners),
            by_quadrant=results.agreement_by_quadrant(content.listeners, content.cells),
            pairings=PAIRINGS,
            no_pretraining=NO_PRETRAINING,
            most_problems=MOST_PROBLEMS,
        )
    )
    return text + "\n"


def _tables(content: Content) -> list[PaperTable]:
    if not content.matrix:
        return []
    return matrix.paper_tables(content.matrix, content.experiments)


def _matrix(content: Content) -> dict[str, Any]:
    """What the section of the whole matrix shows."""
    settings = matrix.by_setting(content.matrix)
    keys = matrix.series_keys(settings)
    runs = {cell.key: cell.run_ids for cell in content.matrix}

    def url(experiment: str, arch: str, one: Comparison) -> str | None:
        a = runs.get((experiment, arch, one.mode, one.a), ())
        b = runs.get((experiment, arch, one.b_mode, one.b), ())
        return content.mlflow.compare([*a, *b]) if content.mlflow and a and b else None

    own = content.params["experiment"], content.params["pretrain"]["arch"]
    compared = content.matrix_tests or {own: content.comparisons}
    there = {cell.arch for cell in content.matrix}
    return {
        "tables": _tables(content),
        "settings": settings,
        "setting_names": SETTINGS,
        "series_keys": keys,
        "series_names": [matrix.series_name(*key, content.matrix) for key in keys],
        "lacking": [arch.upper() for arch in matrix.ARCHS if arch not in there],
        "overall": {"coefficients": [], "statements": []} | dict(content.overall),
        "differing": [
            (experiment, arch, one, url(experiment, arch, one))
            for (experiment, arch), family in compared.items()
            for one in family
        ],
        "printed_by": matrix.PRINTED_BY,
        "archs": matrix.ARCHS,
        "columns": matrix.COLUMNS,
    }


def p_value(p: float) -> str:
    """With the digits that a permutation test of some thousand draws supports."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def position(value: float, low: float, high: float) -> str:
    """Where `value` lies between two ends, as a percentage for an SVG without a view box.

    What lies outside is drawn at the end.
    """
    return f"{100 * min(1, max(0, (value - low) / (high - low))):.2f}%"


def left_out(missing: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """The music sets that lack a control, by its name and the reason: each is said once."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for music, names in missing.items():
        for reason in names.items():
            found[reason].append(music)
    return dict(found)


def every_score(cells: Sequence[Cell], music: str) -> dict[str, list[Cell]]:
    """The cells of one music set, grouped as `results.grouped`, of each experiment in turn."""
    keys = dict.fromkeys((cell.arch, cell.experiment) for cell in cells)
    found = {}
    for arch, experiment in keys:
        there = [cell for cell in cells if (cell.arch, cell.experiment) == (arch, experiment)]
        named = f"{matrix.series_name(arch, experiment, cells)}: " if len(keys) > 1 else ""
        for group, members in results.grouped(there, music).items():
            found[f"{named}{group}"] = members
    return found


def highest(cells: Sequence[Cell]) -> dict[tuple[str, str, str], float]:
    """The highest F of each music set, task and average."""
    found: dict[tuple[str, str, str], float] = {}
    for cell in cells:
        for column, scores in cell.scores.items():
            key = (cell.music, *column)
            found[key] = max(found.get(key, 0.0), scores.f1)
    return found


def confusion_panels(
    confusions: Confusions, cells: Sequence[Cell], music: str
) -> dict[str, dict[str, Sequence[Sequence[int]]]]:
    """Matrices of one music set by mode and name: its pairings, then the control of that mode."""
    panels: dict[str, dict[str, Sequence[Sequence[int]]]] = defaultdict(dict)
    for group, members in results.grouped(cells, music).items():
        for cell in members if group != results.OTHER_CONTROLS else ():
            if cell.mode in confusions.get(cell.pairing, {}):
                panels[group][cell.name] = confusions[cell.pairing][cell.mode]
    return dict(panels)


def power_lines(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curve of power in percent of a panel, a line a number of repeats; songs on a log axis.

    Of rows of power.csv: songs, repeats, and the smallest difference in points that is found with
    80 % power. What is out of reach has no number and is left out. Empty where there is nothing.
    """
    held = [row for row in rows if isinstance(row["points"], float)]
    songs = sorted({row["songs"] for row in held})
    if len(songs) < 2:
        return {}
    top = 10 * max(1, math.ceil(max(row["points"] for row in held) / 10))
    span = math.log(songs[-1] / songs[0])
    lines: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(held, key=lambda row: (row["repeats"], row["songs"])):
        x = 100 * math.log(row["songs"] / songs[0]) / span
        lines[int(row["repeats"])].append(
            dict(row) | {"x": x, "y": 100 - 100 * row["points"] / top}
        )
    ticks = [(songs[0], 0.0), (songs[-1], 100.0)]
    for tick in (30, 100, 300, 1000, 3000):
        at = 100 * math.log(tick / songs[0]) / span
        if 0 < at < 90 and all(abs(at - other) > 8 for _, other in ticks):
            ticks.append((tick, at))
    return {"lines": dict(lines), "ticks": sorted(ticks), "top": top}


def truth_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line an effect, architecture and claim of truth.json; its seeds side by side."""
    lines: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        lines[row["effect"], row["arch"], row["claim"], row["expected"]].append(row)
    names = ("effect", "arch", "claim", "expected")
    return [
        dict(zip(names, key, strict=True))
        | {"seeds": found, "right": sum(r["right"] for r in found)}
        for key, found in lines.items()
    ]


def curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Lines and marks of the pretraining curves in percent of a panel, one loss axis for all."""
    if not histories:
        return []
    losses = [
        row[f"{part}_loss"]
        for history in histories.values()
        for row in history
        for part in ("train", "validation")
    ]
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    panels = []
    for language, history in histories.items():
        last = max(row["epoch"] for row in history) or 1

        def place(row: Mapping[str, float], part: str, last: float = last) -> tuple[float, float]:
            x = 100 * row["epoch"] / last
            return x, 94 - 88 * (row[f"{part}_loss"] - low) / span

        best = [row for row in history if row["best"]][-1]
        panels.append(
            {
                "language": language,
                "epochs": len(history),
                "lines": {
                    part: " ".join("{:.2f},{:.2f}".format(*place(row, part)) for row in history)
                    for part in ("train", "validation")
                },
                "best": place(best, "validation"),
                "best_epoch": int(best["epoch"]) + 1,
                "best_loss": best["validation_loss"],
                "low": low,
                "high": high,
            }
        )
    return panels


def earlier_table(
    earlier: Sequence[Mapping[str, Any]], present: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A line a version and transfer mode: F by pairing, and of the control without pretraining.

    Of rows of `tracking.past_runs.earlier_results`, among them the `present` run's.
    """
    named = ("experiment", "protocol", "arch", "dvc_experiment", "certificate_hash")
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    here = {id(row) for row in present}
    for row in earlier:
        for mode, control in NO_PRETRAINING.items():
            if row["transfer_mode"] not in (mode, control):
                continue
            key = (*(str(row[name]) for name in named), mode)
            line = lines.setdefault(
                key,
                {name: row[name] for name in named}
                | {"transfer_mode": mode, "present": False, "f1": {}},
            )
            line["f1"][row["pairing"]] = row["f1"]
            line["present"] |= id(row) in here
    return list(lines.values())


def _pictures(content: Content) -> dict[str, Picture]:
    note = SYNTHETIC if content.synthetic else ""
    drawn: dict[str, Picture] = {}
    for music in dict.fromkeys(cell.music for cell in content.cells):
        drawn[f"forest-{music}"] = figures.forest_figure(content.cells, music, note)
        panels = confusion_panels(content.confusions, content.cells, music)
        if panels:
            titled = {
                f"{mode}\n{name}": row_shares(m)
                for mode, of in panels.items()
                for name, m in of.items()
            }
            names = f"predicted\n{note}".rstrip(), "true, %"
            drawn[f"confusion-{music}"] = confusions_figure(titled, LABELS["quadrant"], names)
    families = {
        "pretraining": [one for one in content.comparisons if one.with_control],
        "language": [one for one in content.comparisons if one.of_languages],
    }
    for question in QUESTIONS:
        if family := families.get(question.id):
            drawn[f"differences-{question.id}"] = figures.differences_figure(
                family, question.text, note
            )
    if content.matrix:
        drawn["settings"] = figures.settings_figure(
            matrix.by_setting(content.matrix), content.matrix, note
        )
    if content.histories:
        drawn["pretraining"] = figures.pretraining_figure(
            {f"{LANGUAGES[name]} speech": rows for name, rows in content.histories.items()}, note
        )
    return drawn
