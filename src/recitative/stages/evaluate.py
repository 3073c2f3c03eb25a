"""`recitative evaluate`: predictions -> build/evaluate/ (results, classes, intervals, tests)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import click

from recitative.corpora.certificate import require_clean
from recitative.evaluation import metrics as scoring
from recitative.evaluation.comparisons import NO_PRETRAINING, TEST_COLUMNS, compare, split_cells
from recitative.evaluation.summary import SUMMARY_COLUMNS, summarise
from recitative.experiment.places import EVALUATE, INDEX, SPLITS, prediction_folders
from recitative.files import atomic_folder, write_csv, write_json
from recitative.params import Params
from recitative.vocabulary import setting_of


def run(params: Params) -> None:
    """Score every cell and control, on segments and songs, and compare them on the same songs."""
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    predictions = {
        pairing: scoring.read_predictions(folder / "predictions.csv")
        for pairing, folder in prediction_folders().items()
    }
    results: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    for pairing, table in predictions.items():
        speech, music = pairing.split("2")
        named = {
            "experiment": params.experiment,
            "pairing": pairing,
            "setting": setting_of(pairing),
            "speech_language": speech,
            "music_language": music,
        }
        for _, part in table.groupby(["transfer_mode", "repeat"], sort=False):
            results += scoring.results_rows(part, named)
            classes += scoring.per_class_rows(part, named)
    cells = split_cells(predictions)
    summary = summarise(cells, params.evaluate, params.seed)
    tests = compare(cells, params.evaluate, params.seed)
    quadrants = [
        {"cell": f"{row['transfer_mode']} {row['pairing']}", "macro_f1": round(row["f1"], 4)}
        for row in summary
        if (row["task"], row["average"]) == ("quadrant", "macro")
    ]
    with atomic_folder(EVALUATE) as folder:
        write_csv(folder / "results.csv", scoring.RESULT_COLUMNS, results)
        write_csv(folder / "classes.csv", scoring.CLASS_COLUMNS, classes)
        write_csv(folder / "summary.csv", SUMMARY_COLUMNS, summary)
        write_csv(folder / "tests.csv", TEST_COLUMNS, tests)
        write_json(folder / "metrics.json", metrics(summary))
        write_csv(folder / "quadrants.csv", ["cell", "macro_f1"], quadrants)
    click.echo(f"{len(results)} results, {len(tests)} comparisons; {EVALUATE}/results.csv")


def metrics(summary: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What `dvc metrics` and `dvc exp show` compare: song-level macro F, from rows of summary.csv.

    Returns:
        By task, then `intra`, `cross`, `mix` and `none`: means over both music sets and the transfer
        modes; `none` over the controls that differ from them by the pretraining alone.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in summary:
        setting = setting_of(row["pairing"])
        matched = setting != "none" or row["transfer_mode"] in NO_PRETRAINING.values()
        if row["average"] == "macro" and matched:
            found[row["task"]][setting].append(row["f1"])
    return {
        task: {setting: round(fmean(scores), 4) for setting, scores in settings.items()}
        for task, settings in found.items()
    }
