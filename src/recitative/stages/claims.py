"""`recitative claims`: the verdict on each claim of the paper -> build/claims/."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple

import click
import numpy as np
import pandas as pd

from recitative.agreement.alpha import alpha_from_long, bootstrap_alphas
from recitative.agreement.consensus import answers as listeners_answers
from recitative.agreement.ratings import read_music_ratings
from recitative.corpora.certificate import require_clean
from recitative.evaluation.answers import answer
from recitative.evaluation.claims import CellName
from recitative.evaluation.comparisons import split_cells
from recitative.evaluation.metrics import check_predictions, read_predictions
from recitative.evaluation.overall import format_effects, overall_effects
from recitative.evaluation.power import POWER_COLUMNS, TYPICAL, curve, variances_of
from recitative.evaluation.summary import MATRIX_COLUMNS, MATRIX_TEST_COLUMNS, matrix_rows
from recitative.evaluation.verdicts import Agreement, Evidence, Pretraining, format_verdicts, judge
from recitative.experiment.places import CLAIMS, INDEX, PRETRAIN, SPLITS, prediction_folders
from recitative.files import atomic_folder, blake2b, read_csv, read_json, write_csv, write_json
from recitative.params import Params
from recitative.seeding import derive_rng
from recitative.tracking import past_runs
from recitative.tracking.past_runs import RunPredictions
from recitative.tracking.runs import elsewhere
from recitative.vocabulary import MUSIC, SPEECH

CURVE_COLUMNS = ("experiment", "arch", "language", "epoch", "train_loss", "validation_loss")


def run(params: Params) -> None:
    """Judge by what lies in build/ and by what other experiments on the same split left in MLflow."""
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    trained = past_runs.pretraining_runs(params.protocol)
    evidence = _evidence(params, trained)
    verdicts = judge(evidence, params.seed, params.evaluate.draws)
    overall = overall_effects(evidence.cells)
    rows, tests = matrix_rows(evidence.cells, params.evaluate, params.seed)
    variances = variances_of(evidence.cells, "measured")
    told = [asdict(verdict) for verdict in verdicts]
    runs = {  # beside what is scored: two clones with one seed score alike, under other run ids
        "claims": {verdict["claim"]: verdict.pop("run_ids") for verdict in told},
        "cells": [[*astuple(name), ids] for name, ids in sorted(evidence.runs.items())],
    }
    curves = (  # of every pretraining that MLflow holds
        dict(zip(CURVE_COLUMNS, (one.experiment, one.arch, one.language, n, *losses), strict=True))
        for one in trained
        for n, losses in enumerate(one.losses)
    )
    found = answer(told)
    answered = {claim: one for one in found for claim in one["claims"]}
    for row in told:  # which question the claim answers, and how it is answered
        one = answered.get(row["claim"])
        row["question"], row["answer"] = (one["id"], one["verdict"]) if one else (None, None)
    experiments = {"stands_for": evidence.labels(), "speech_hours": dict(evidence.hours)}
    with atomic_folder(CLAIMS) as folder:
        write_json(folder / "claims.json", told)
        write_json(folder / "answers.json", found)
        write_json(folder / "run.json", runs)
        write_json(folder / "overall.json", asdict(overall))
        write_json(folder / "experiments.json", experiments)
        write_csv(folder / "matrix.csv", MATRIX_COLUMNS, rows)
        write_csv(folder / "matrix_tests.csv", MATRIX_TEST_COLUMNS, tests)
        write_csv(folder / "curves.csv", CURVE_COLUMNS, curves)
        write_csv(folder / "power.csv", POWER_COLUMNS, curve(variances or TYPICAL))
    click.echo(format_verdicts(verdicts))
    click.echo("\n".join(f"{one['question']} {one['verdict']}" for one in found))
    say_elsewhere([run for ids in evidence.runs.values() for run in ids])
    click.echo(
        f"appendix, a mixed model over all cells:\n{format_effects(overall)}\n{CLAIMS}/claims.json"
    )


def say_elsewhere(run_ids: Sequence[str]) -> set[str]:
    """The runs that another MLflow store has; a line on the screen where there are any."""
    gone = elsewhere(run_ids)
    if gone:
        click.echo(
            f"note: {len(gone)} of {len(set(run_ids))} runs are not in this MLflow store (somebody "
            "else trained them, or it was removed): their results are here, links lead to the others"
        )
    return gone


def earlier_predictions(params: Params, labels: str) -> Iterator[RunPredictions]:
    """Test predictions that other experiments left: on this split, of this protocol, size and head.

    `labels` is `transfer.labels` of the others.

    Raises:
        UserError: a table in the MLflow store cannot be scored.
    """
    hashes = {music: blake2b(SPLITS / f"music-{music}.csv") for music in MUSIC}
    same = {"size": params.size, "transfer.head": params.transfer.head}
    for found in past_runs.predictions_of(hashes, params.protocol, labels, same):
        check_predictions(found.table, f"MLflow run {found.run_id}: predictions.csv")
        yield found


def _evidence(params: Params, trained: Sequence[Pretraining]) -> Evidence:
    """Of other experiments on the same split, trained in the same way, and of what lies in build/."""
    parts: dict[CellName, list[pd.DataFrame]] = defaultdict(list)
    runs: dict[CellName, list[str]] = defaultdict(list)
    hours: dict[str, float] = {}
    for found in earlier_predictions(params, params.transfer.labels):
        name = CellName(found.experiment, found.arch, found.mode, found.pairing)
        parts[name].append(found.table)
        runs[name].append(found.run_id)
        if found.speech_hours is not None:
            hours[found.experiment] = found.speech_hours
    for pairing, folder in prediction_folders().items():
        path = folder / "predictions.csv"
        if not path.exists():
            click.echo(f"{path}: not there; claims about it are left out")
            continue
        run_ids = read_json(folder / "run.json")
        for key, part in split_cells({pairing: read_predictions(path)}).items():
            arch = str(part["arch"].iloc[0])
            name = CellName(params.experiment, arch, key.mode, pairing)
            parts[name] = [part]
            runs[name] = list(run_ids[key.mode].values())
    if params.balance.speech_hours is not None:
        hours[params.experiment] = params.balance.speech_hours
    cells = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    return Evidence(cells, hours, runs, _pretrainings(params, trained), _agreement(params))


def _pretrainings(params: Params, trained: Sequence[Pretraining]) -> list[Pretraining]:
    """Those in build/, then those of MLflow that are others."""
    here: list[Pretraining] = []
    for language in SPEECH:
        folder = PRETRAIN / language
        if not (folder / "history.csv").exists():
            continue
        run_id = read_json(folder / "run.json")["run_id"]
        if run_id in {one.run_id for one in trained}:
            continue
        history = read_csv(folder / "history.csv")
        best = min(history, key=lambda row: float(row["validation_loss"]))
        arch = read_json(folder / "model.json")["arch"]
        cpc = arch == "cpc"
        here.append(
            Pretraining(
                params.experiment, arch, language, params.seed,
                params.cpc.past if cpc else None, params.cpc.future if cpc else None,
                float(best["validation_accuracy"]) if cpc else None,
                int(best["epoch"]) + 1, len(history), run_id,
            )
        )  # fmt: skip
    return [*here, *trained]


def _agreement(params: Params) -> dict[str, Agreement]:
    """Alpha of the quadrants of each music set whose listeners' answers there are."""
    found = {}
    for music in MUSIC:
        path = INDEX / f"music-{music}.ratings.csv"
        if not path.exists():
            continue
        given = listeners_answers(read_music_ratings(path), "quadrant", params.agreement.midpoint)
        alpha = alpha_from_long(*given, "nominal")
        if alpha is None:
            continue
        rng = derive_rng(params.seed, "claims", "agreement", music)
        draws = bootstrap_alphas(
            *given, "nominal", resampled="both", rng=rng,
            draws=max(100, params.agreement.draws), jobs=params.compute.processes,
        )  # fmt: skip
        found[music] = Agreement(alpha, draws, len(np.unique(given[1])))
    return found
