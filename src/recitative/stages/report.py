"""`recitative report`: all that was found, as one page -> build/report/."""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import click
import pandas as pd

from recitative.corpora.base import ROLES
from recitative.corpora.demo import is_synthetic
from recitative.errors import UserError
from recitative.evaluation import answers
from recitative.evaluation.comparisons import (
    LABEL_COLUMNS,
    TEST_COLUMNS,
    CellKey,
    compare_labels,
    split_cells,
)
from recitative.evaluation.metrics import CLASS_COLUMNS, RESULT_COLUMNS
from recitative.evaluation.summary import MATRIX_COLUMNS, MATRIX_TEST_COLUMNS, SUMMARY_COLUMNS
from recitative.evaluation.verdicts import Verdict
from recitative.experiment import labels as identity
from recitative.experiment import places
from recitative.experiment.searched import PAGE
from recitative.experiment.work import clear_unneeded
from recitative.files import atomic_folder, read_csv, read_json, write_csv
from recitative.learning.config import CONTROLS as ALL_CONTROLS
from recitative.learning.config import LabelKind
from recitative.params import Params
from recitative.reports import results
from recitative.reports.page import Content, MlflowLinks, write_report
from recitative.reports.results import Cell
from recitative.stages.claims import CURVE_COLUMNS, earlier_predictions, say_elsewhere
from recitative.tracking import registry
from recitative.tracking.past_runs import earlier_results
from recitative.tracking.runs import open_run, parent_run_id
from recitative.tracking.store import experiment_id, is_server, tracking_uri
from recitative.vocabulary import LANGUAGES, MUSIC, PAIRINGS, SPEECH

# What the page shows of each file: columns, or keys of every entry.
NEEDED = {
    "summary.csv": SUMMARY_COLUMNS,
    "results.csv": RESULT_COLUMNS,
    "classes.csv": CLASS_COLUMNS,
    "tests.csv": TEST_COLUMNS,
    "matrix.csv": MATRIX_COLUMNS,
    "matrix_tests.csv": MATRIX_TEST_COLUMNS,
    "curves.csv": CURVE_COLUMNS,
    "power.csv": ("songs", "repeats", "points"),
    "claims.json": [one.name for one in fields(Verdict) if one.name != "run_ids"],
    "answers.json": answers.KEYS,
    "decision.json": ("model", "version", "alias", "candidate", "gates"),
    "truth.json": (
        "effect", "seed", "arch", "claim", "expected", "verdict", "value", "low", "high", "right",
    ),
}  # fmt: skip
CURVE = ("epoch", "train_loss", "validation_loss")
PICTURES = {
    "raters": "How far does every rater agree with every other?",
    "confusion": "What do other raters say of a clip?",
}


def run(params: Params, check_controls: bool = False) -> None:
    """Read what the stages wrote and write the page; an absent stage is a sentence on it.

    With `check_controls` only say whether every control stands in every table, and write nothing.

    Raises:
        UserError: there are no results yet; or, of `check_controls`, a control is missing.
    """
    if check_controls:
        _check_controls()
        return
    folders = places.prediction_folders()
    cells = evaluated_cells()
    runs = dict(_runs(folders))
    of_claims = json_or(places.CLAIMS / "run.json", {"claims": {}, "cells": []})
    gone = say_elsewhere([*runs.values(), *(run for *_, ids in of_claims["cells"] for run in ids)])
    labels = compared_labels(params)
    alpha = [row for row in _rows(places.AGREEMENT / "alpha.csv") if row["resampled"] == "both"]
    content = Content(
        cells=cells,
        comparisons=results.read_comparisons(_rows(places.EVALUATE / "tests.csv")),
        synthetic=is_synthetic(places.DATA, places.INDEX),
        params=params.model_dump(mode="json"),
        average=params.report.average,
        provenance=identity.provenance("report"),
        confusions={
            name: results.song_confusions(pd.read_csv(folder / "predictions.csv"))
            for name, folder in folders.items()
            if (folder / "predictions.csv").exists()
        },
        histories={
            language: [_numbers(row) for row in rows]
            for language in SPEECH
            if (rows := _rows(places.PRETRAIN / language / "history.csv"))
        },
        pretext={
            language: found
            for language in SPEECH
            if (found := json_or(places.PRETRAIN / language / "pretext.json", {}))
        },
        certificate=json_or(places.SPLITS / "certificate.json", {}),
        problems={
            role: _rows(places.INDEX / f"{role}.problems.csv")
            + _rows(places.FEATURES / role / "problems.csv")
            for role in ROLES
        },
        alpha=[_numbers(row) for row in alpha],
        listeners=json_or(places.AGREEMENT / "agreement.json", {}),
        pictures=list(_pictures()),
        answers=told_answers(),
        truth=json_or(places.BUILD / "truth" / "truth.json", []),
        power=[_numbers(row) for row in _rows(places.CLAIMS / "power.csv")],
        claims=[
            claim | {"run_ids": _without(gone, of_claims["claims"].get(claim["claim"], ()))}
            for claim in json_or(places.CLAIMS / "claims.json", [])
        ],
        missing={music: json_or(places.CONTROLS / music / "missing.json", {}) for music in MUSIC},
        decisions=json_or(places.REGISTRY / "decision.json", []),
        runs=runs,
        earlier=earlier_results(),
        labels=labels,
        searched=PAGE.exists() and bool(params.search.trials),
        matrix=results.read_cells(
            _rows(places.CLAIMS / "matrix.csv"),
            runs={tuple(cell): _without(gone, ids) for *cell, ids in of_claims["cells"]},
        ),
        matrix_tests={
            (experiment, arch): results.read_comparisons(rows)
            for (experiment, arch), rows in results.by_columns(
                _rows(places.CLAIMS / "matrix_tests.csv"), "experiment", "arch"
            ).items()
        },
        experiments=json_or(places.CLAIMS / "experiments.json", {}),
        overall=json_or(places.CLAIMS / "overall.json", {}),
        curves=_curves(params),
        faults=[read_json(path) for path in sorted(places.FAULTS.glob("*.json"))],
        mlflow=MlflowLinks(  # where there is no server: where `mlflow ui` answers
            tracking_uri() if is_server() else params.report.mlflow_url, experiment_id()
        ),
    )
    with atomic_folder(places.REPORT) as folder:
        write_report(content, folder)
        write_csv(folder / "tables" / "labels.csv", LABEL_COLUMNS, labels)
        if (places.CLAIMS / "claims.json").exists():
            shutil.copyfile(places.CLAIMS / "claims.json", folder / "claims.json")
        if PAGE.exists():
            shutil.copyfile(PAGE, folder / PAGE.name)
        _log(params, folder)
    clear_unneeded(params)  # this is the pipeline's last stage
    click.echo(f"{places.REPORT}/index.html")


def _without(gone: set[str], run_ids: Sequence[str]) -> list[str]:
    return [run for run in run_ids if run not in gone]


def compared_labels(params: Params) -> list[dict[str, Any]]:
    """Rows of `compare_labels`: majority, soft or reliable labels; none where there is one kind only.

    The present kind lies in build/; the others are found in MLflow, of experiments that differ in
    nothing else that a score depends on: split, protocol, size, head, architecture.

    Raises:
        UserError: a table in the MLflow store cannot be scored.
    """
    paths = {pairing: places.TRANSFER / pairing / "predictions.csv" for pairing in PAIRINGS}
    here = {name: pd.read_csv(path) for name, path in paths.items() if path.exists()}
    if not here:
        return []
    kinds = {params.transfer.labels: split_cells(here)}
    for kind in get_args(LabelKind):
        if kind == params.transfer.labels:
            continue
        parts: dict[CellKey, list[pd.DataFrame]] = defaultdict(list)
        for found in earlier_predictions(params, kind):
            if found.arch == params.pretrain.arch and found.pairing in PAIRINGS:
                parts[CellKey(found.mode, found.pairing)].append(found.table)
        if parts:
            kinds[kind] = {
                key: pd.concat(tables, ignore_index=True) for key, tables in parts.items()
            }
    return compare_labels(kinds, params.evaluate, params.seed)


def _log(params: Params, folder: Path) -> None:
    """Keep the page and what lies beside it in MLflow, for whoever has no checkout.

    The answers are tags of its run, and of the versions that were registered with these results.
    """
    cell = identity.labels(params, "cpu", "none", "none", "report", 0)
    answered = answers.tags(told_answers())
    for decision in json_or(places.REGISTRY / "decision.json", []) if answered else ():
        try:
            version = registry.resolve(f"{decision['model']}/{decision['version']}")
        except UserError as absent:  # somebody else registered it
            click.echo(f"it gets no tags with the answers: {absent}")
        else:
            registry.describe(version, answered)
    with open_run(
        "report",
        cell,
        cell | identity.provenance("report") | answered,
        parent=parent_run_id(),
        measure=False,
    ) as tracked:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            below = path.parent.relative_to(folder).as_posix()
            tracked.log_artifact(path, None if below == "." else below)


def _check_controls() -> None:
    """Every control of both music sets has results, or a reason why it has none."""
    found = {(cell.music, cell.mode) for cell in evaluated_cells()}
    lost = []
    for music in MUSIC:
        reasons = json_or(places.CONTROLS / music / "missing.json", {})
        for name in ALL_CONTROLS:
            if (music, name) in found:
                continue
            if why := reasons.get(name):
                click.echo(f"none2{music} {name}: left out, and the report says so: {why}")
            else:
                lost.append(f"none2{music} {name}")
    if lost:
        raise UserError(
            f"{places.EVALUATE}/summary.csv: no results of the controls {', '.join(lost)}; put them into "
            "controls.names and run `dvc repro`"
        )
    click.echo(f"every control is there: {', '.join(ALL_CONTROLS)}")


def evaluated_cells() -> list[Cell]:
    """The cells of build/evaluate/.

    Raises:
        UserError: there are none yet, or an older version wrote them.
    """
    paths = [places.EVALUATE / f"{name}.csv" for name in ("summary", "results", "classes")]
    if missing := [path for path in paths if not path.exists()]:
        raise UserError(f"{missing[0]}: no results yet; run `recitative evaluate`")
    return results.read_cells(*map(_rows, paths))


def told_answers() -> list[dict[str, Any]]:
    """The rows of answers.json; none where no claim was judged."""
    found: list[dict[str, Any]] = json_or(places.CLAIMS / "answers.json", [])
    if not found and (places.CLAIMS / "claims.json").exists():
        raise _older(places.CLAIMS / "answers.json", "is not there")
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    rows = read_csv(path) if path.exists() else []
    _require(path, rows)
    return rows


def json_or(path: Path, absent: Any) -> Any:
    """The content of a file that need not be there, with all that the page shows."""
    found = read_json(path) if path.exists() else absent
    _require(path, found if isinstance(found, list) else [])
    return found


def _require(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """What an older version wrote may lack something that the page shows."""
    lacking = [name for name in NEEDED.get(path.name, ()) if rows and name not in rows[0]]
    if lacking:
        raise _older(path, f"has no {', '.join(lacking)}")


def _older(path: Path, what: str) -> UserError:
    command = "make truth" if path.parent.name == "truth" else "dvc repro"
    return UserError(f"{path} {what}: an older version wrote {path.parent}; run `{command}`")


def _curves(params: Params) -> dict[tuple[str, str], dict[str, list[dict[str, Any]]]]:
    """Learning curves that MLflow holds, by arch and experiment, but for this one's."""
    curves: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    named = results.by_columns(
        _rows(places.CLAIMS / "curves.csv"), "arch", "experiment", "language"
    )
    for (arch, experiment, language), rows in named.items():
        if (arch, experiment) != (params.pretrain.arch, params.experiment):
            history = [
                _numbers({name: row[name] for name in CURVE}) | {"best": 0.0} for row in rows
            ]
            min(history, key=lambda row: row["validation_loss"])["best"] = 1.0
            curves.setdefault((arch, experiment), {})[language] = history
    return curves


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    """A row with numbers for the cells that are numbers; an empty cell is None."""

    def number(text: str) -> Any:
        try:
            return float(text) if text else None
        except ValueError:
            return text

    return {name: number(text) for name, text in row.items()}


def _pictures() -> Iterator[tuple[str, Path]]:
    for music in MUSIC:
        for name, title in PICTURES.items():
            path = places.AGREEMENT / "figures" / music / f"{name}-column.png"
            if path.exists():
                yield f"{title} {LANGUAGES[music]} music.", path


def _runs(folders: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Every run id that the stages wrote down, by what it is of."""
    for language in SPEECH:
        if found := json_or(places.PRETRAIN / language / "run.json", {}):
            yield f"pretrain {language}", found["run_id"]
    for pairing, folder in folders.items():
        for mode, repeats in json_or(folder / "run.json", {}).items():
            if isinstance(repeats, dict):  # not the parent's id, nor the key
                for repeat, run_id in repeats.items():
                    yield f"{pairing} {mode} {repeat}", run_id
