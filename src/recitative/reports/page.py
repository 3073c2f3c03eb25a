"""The page: one file that stands by itself, from what the stages wrote."""

import base64
import json
from collections import Counter
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
from recitative.reports import figures, matrix, parts, results
from recitative.reports.matrix import PaperTable
from recitative.reports.parts import Confusions
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
    # of pretext.json, by language: what the pretraining's own task is worth without learning
    pretext: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
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
            planted=parts.truth_table(content.truth),
            power=parts.power_lines(content.power),
            compare=content.mlflow.compare if content.mlflow else None,
            **_matrix(content),
            synthetic=SYNTHETIC if content.synthetic else "",
            sets=list(dict.fromkeys(cell.music for cell in content.cells)),
            grouped=results.grouped,
            majority=results.majority,
            left_out=parts.left_out(content.missing),
            every_score=partial(parts.every_score, content.matrix or content.cells),
            highest=parts.highest(content.matrix or content.cells),
            panels=parts.confusion_panels,
            curves=parts.curves,
            curve_groups=({own: content.histories} if content.histories else {})
            | dict(content.curves),
            history=parts.earlier_table(content.earlier, present),
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


def _pictures(content: Content) -> dict[str, Picture]:
    note = SYNTHETIC if content.synthetic else ""
    drawn: dict[str, Picture] = {}
    for music in dict.fromkeys(cell.music for cell in content.cells):
        drawn[f"forest-{music}"] = figures.forest_figure(content.cells, music, note)
        panels = parts.confusion_panels(content.confusions, content.cells, music)
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
