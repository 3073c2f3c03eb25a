"""`recitative faults`: what each fault of the released code adds to the score that it would print.

A ladder: the protocol `released`, then one fault mended at a time, in the order of `LADDER`, up to
the protocol `corrected`. Everything runs in a temporary folder on the present data and sizes;
build/ and the project's MLflow store are not touched, but for the ladder itself in build/faults/.
"""

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import click
import pandas as pd
import yaml

from recitative.errors import UserError
from recitative.evaluation.metrics import Level, decide, score, to_song_level
from recitative.experiment.places import DATA, FAULTS, PRETRAIN, TRANSFER, feature_cache
from recitative.experiment.work import PIPELINE, stage_key
from recitative.files import write_json
from recitative.params import Params, load_params, read_values
from recitative.stages import featurize, index, pretrain, split, transfer
from recitative.switches import AUTO, PROTOCOLS, ROWS, SIZES, of_size
from recitative.vocabulary import PAIRINGS

# A rung: the row of docs/protocols.md, what is done right from here on, and by which parameters.
LADDER: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("C11", "test songs stay out of training", ("split.leak",)),
    ("C21", "split by artist and speaker", ("split.group_by",)),
    ("C13", "the best epoch is scored, not the last", tuple(n for n in ROWS if ROWS[n] == "C13")),
    ("C18", "batch norm over channels, not time", ("encoder.batch_norm",)),
    ("C12", "class weights act on all heads", ("transfer.class_weights",)),
    ("C3", "the corrected learning rates", tuple(n for n in ROWS if ROWS[n] == "C3")),
    ("C4", "CPC's negatives and gap", ("cpc.negatives", "cpc.gap")),
    ("ours", "mel bands are standardised", ("encoder.standardize",)),
    ("C24", "pooled head, short decaying rate, refit", tuple(n for n in ROWS if ROWS[n] == "C24")),
    ("C9, C21", "macro average over songs is printed", ("report.average",)),
)


@dataclass(frozen=True)
class Rung:
    """Scores of one transfer mode at one rung: quadrant F in [0, 1], mean over repeats."""

    row: str
    what: str
    mode: str
    printed: float  # what would be printed: up to the last rung weighted, over segments
    honest: float  # macro, over songs
    songs: int
    fault_adds: float | None  # points of the printed score that the mended fault was worth


def run(params_file: Path, pairing: str, mode: str | None, json_file: Path | None) -> None:
    """Climb the ladder on one pairing and print it; it trains, so it takes minutes.

    What is no part of a protocol holds on every rung. A `mode` of None stands for all of
    `transfer.modes`. The rungs go into build/faults/ for the report, and into `json_file`.

    Raises:
        UserError: an unknown pairing, or as the stages.
    """
    if pairing not in PAIRINGS:
        raise UserError(f"--pairing {pairing}: choose of {', '.join(PAIRINGS)}")
    present = load_params(params_file)
    values = read_values(params_file)
    if mode:
        values["transfer"]["modes"] = [mode]
    rungs: list[Rung] = []
    before: dict[str, float] = {}
    tables: dict[str, pd.DataFrame] = {}
    with _workspace() as kept:
        for row, what, chosen in _settings(values, present.size, present.pretrain.arch):
            click.echo(f"{row:8} {what} ...", err=True)
            if chosen is not None:
                path = Path("params.yaml")
                path.write_text(yaml.safe_dump(chosen), encoding="utf-8")
                tables = _train(load_params(path), pairing, kept)
            for trained, table in tables.items():
                if mode not in (None, trained):  # full goes on from feature_extraction
                    continue
                honest, songs = _score(table, "song", "macro"), table["clip"].nunique()
                printed = honest if chosen is None else _score(table, "segment", "weighted")
                adds = 100 * (before[trained] - printed) if trained in before else None
                rungs.append(Rung(row, what, trained, printed, honest, songs, adds))
                before[trained] = printed
    click.echo(format_rungs(rungs, pairing, present))
    arch, repeats = present.pretrain.arch, present.transfer.repeats
    about = {"pairing": pairing, "arch": arch, "size": present.size, "repeats": repeats}
    written = [asdict(rung) for rung in rungs]
    write_json(FAULTS / f"{arch}-{pairing}.json", about | {"rungs": written})
    if json_file:
        write_json(json_file, written)


def format_rungs(rungs: list[Rung], pairing: str, params: Params) -> str:
    """The ladder as a table for the screen."""
    lines = [
        f"quadrant F of {pairing} {params.pretrain.arch}, size {params.size}, mean over "
        f"{params.transfer.repeats} repeats; in points, what the fault had added to the printed score"
    ]
    for mode in dict.fromkeys(rung.mode for rung in rungs):
        heading = f"{mode:38} {'printed':>8} {'fault added':>12} {'macro, songs':>13} {'songs':>6}"
        lines += ["", f"{'row':8} {heading}"]
        for rung in rungs:
            if rung.mode == mode:
                adds = "" if rung.fault_adds is None else f"{rung.fault_adds:+.1f}"
                lines.append(
                    f"{rung.row:8} {rung.what:38} {rung.printed:8.3f} {adds:>12} "
                    f"{rung.honest:13.3f} {rung.songs:6}"
                )
    return "\n".join(lines)


def _settings(
    values: Mapping[str, Any], size: str, arch: str
) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Each rung's row, name and values of params.yaml; None where nothing is trained anew."""
    chosen = {name: AUTO for name in ROWS}  # what params.yaml writes out would hide the fault
    yield "released", "as the released code does it", _with(values, chosen)
    corrected = SIZES[size] | {n: of_size(v, size) for n, v in PROTOCOLS["corrected"].items()}
    for row, what, parameters in LADDER:
        if row == "C4" and arch != "cpc":
            continue
        chosen |= {name: corrected[name] for name in parameters}
        scoring = parameters == ("report.average",)
        yield row, what, None if scoring else _with(values, chosen)


def _with(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the values under `protocol: released`, with these dotted names set."""
    changed = deepcopy(dict(values))
    changed["protocol"] = "released"
    changed["search"]["trials"] = 0  # every rung trains with the values of params.yaml
    changed.setdefault("compute", {})["ahead"] = False  # one pairing is asked for, not all
    for name, value in chosen.items():
        *sections, leaf = name.split(".")
        holder = changed
        for section in sections:
            holder = holder.setdefault(section, {})
        holder[leaf] = value
    return changed


@contextmanager
def _workspace() -> Iterator[Path]:
    """Work in a temporary folder that shares the data and the cached features; yield a shelf in it.

    Stages find their files from the working directory, and MLflow and resumable work from DVC_ROOT.
    """
    data, cache, pipeline = DATA.resolve(), feature_cache(), PIPELINE.resolve()
    names = ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "RECITATIVE_PARENT_RUN")
    outside = {name: os.environ.pop(name, None) for name in names}
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="recitative-faults-") as folder:
        inside = Path(folder).resolve()
        (inside / ".recitative").mkdir()
        (inside / ".recitative" / "features").symlink_to(cache)
        (inside / DATA).symlink_to(data)
        (inside / PIPELINE).symlink_to(pipeline)
        try:
            with chdir(inside):
                yield inside / "kept"
        finally:
            os.environ.update({name: value for name, value in outside.items() if value})


def _train(params: Params, pairing: str, kept: Path) -> dict[str, pd.DataFrame]:
    """Split, pretrain and transfer with `params`; test predictions by mode.

    A pretraining that an earlier rung made with the same settings and speech is taken from `kept`.
    """
    speech, _ = pairing.split("2")
    with redirect_stdout(io.StringIO()):
        index.run(params)
        split.run(params)
        featurize.run(params)
        key = stage_key(params, f"pretrain {speech}")
        shutil.rmtree(PRETRAIN, ignore_errors=True)
        if (kept / key).is_dir():
            shutil.copytree(kept / key, PRETRAIN / speech)
        else:
            pretrain.run(params, speech)
            shutil.copytree(PRETRAIN / speech, kept / key)
        transfer.run(params, pairing)
    table = pd.read_csv(TRANSFER / pairing / "predictions.csv")
    return {str(mode): part for mode, part in table.groupby("transfer_mode", sort=False)}


def _score(table: pd.DataFrame, level: Level, average: str) -> float:
    """Mean over repeats of the quadrants' F."""
    rows = to_song_level(table) if level == "song" else table
    repeats = (score(*decide(r, "quadrant"), "quadrant") for _, r in rows.groupby("repeat"))
    return fmean(getattr(repeat, average).f1 for repeat in repeats)
