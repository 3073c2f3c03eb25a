"""What transfer and controls write: predictions.csv, metrics.json, run.json, the weights."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recitative.experiment.cell import scores, write_predictions
from recitative.experiment.labels import feature_hash
from recitative.experiment.repeats import Finished
from recitative.files import atomic_folder, read_json, sha256, write_json
from recitative.models.storage import Description, Member, weights_path
from recitative.params import Params
from recitative.tracking.runs import Run
from recitative.vocabulary import QUADRANTS


@dataclass(frozen=True)
class Baseline:
    """A control that is no network: its predictions and its run."""

    mode: str
    repeat: int
    run_id: str
    predictions: pd.DataFrame


def write_cells(
    out: Path,
    params: Params,
    description: Description,
    music: str,
    finished: Sequence[Finished],
    parent: Run,
    baselines: Sequence[Baseline] = (),
    *,
    key: str,
    missing: Mapping[str, str] | None = None,
) -> None:
    """Write the folder `out` whole; `missing` says which controls are left out, and why.

    `key` names all that the result depends on: whoever works ahead knows by it what is up to date.
    """
    tables = [f.table() for f in finished] + [b.predictions for b in baselines]
    metrics: dict[str, Any] = {}
    runs: dict[str, Any] = {"key": key, "parent": parent.id}
    cells: list[Finished | Baseline] = [*finished, *baselines]
    for done, table in zip(cells, tables, strict=True):
        entry = {"test": scores(table)}
        if isinstance(done, Finished):
            entry["validation"] = _mean([fold["validation"] for fold in done.folds])
        metrics.setdefault(done.mode, {})[str(done.repeat)] = entry
        runs.setdefault(done.mode, {})[str(done.repeat)] = done.run_id
    with atomic_folder(out) as folder:
        write_predictions(folder / "predictions.csv", pd.concat(tables))
        for mode in dict.fromkeys(f.mode for f in finished):
            of_mode = [f for f in finished if f.mode == mode]
            _write_weights(folder, params, description, music, of_mode)
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "run.json", runs)
        if missing is not None:
            write_json(folder / "missing.json", missing)


def summary_lines(out: Path) -> list[str]:
    """A line a mode for the screen."""
    return [
        f"{mode}: quadrant macro F, songs: "
        + ", ".join(f"{entry['test']['quadrant_f1']:.3f}" for entry in repeats.values())
        for mode, repeats in read_json(out / "metrics.json").items()
    ]


def _mean(scores_of_folds: list[dict[str, float]]) -> dict[str, float]:
    return {str(k): float(v) for k, v in pd.DataFrame(scores_of_folds).mean().items()}


def _write_weights(
    folder: Path,
    params: Params,
    description: Description,
    music: str,
    finished: Sequence[Finished],
) -> None:
    """Every repeat's and fold's weights, and <mode>.json, which makes one ensemble of them."""
    path = folder / f"{finished[0].mode}.json"
    members = []
    for done in finished:
        for fold, weights in enumerate(done.weights):
            copied = weights_path(path, done.repeat, fold)
            shutil.copyfile(weights, copied)
            validation = done.folds[fold]["validation"]
            members.append(
                Member(repeat=done.repeat, fold=fold, sha256=sha256(copied), validation=validation)
            )
    write_json(
        path,
        description
        | {
            "transfer_mode": path.stem,
            "music_language": music,
            "features": params.features.model_dump(mode="json"),
            "feature_hash": feature_hash(f"music-{music}"),
            "quadrants": list(QUADRANTS),
            "validation": _mean([member.validation for member in members]),
            "members": [member.model_dump() for member in members],
        },
    )
