"""`recitative register`: the best checkpoint on validation -> the registry, with the reasons."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from recitative.corpora.certificate import audit_splits, require_clean
from recitative.corpora.indexing import read_index
from recitative.errors import UserError
from recitative.evaluation.promotion import Gate, Songs, beside, gates
from recitative.experiment.places import (
    CONTROLS,
    INDEX,
    REGISTRY,
    SPLITS,
    TRANSFER,
)
from recitative.files import atomic_folder, read_json, write_json
from recitative.params import Params
from recitative.predict import DESCRIPTION, WEIGHTS
from recitative.seeding import derive_rng
from recitative.tracking import registry
from recitative.vocabulary import MUSIC, PAIRINGS

TEST_PREDICTIONS = "test_predictions.csv"  # in the bundle: a later candidate is compared on them


def run(params: Params) -> None:
    """Choose, judge and register a model for each music language; say why."""
    require_clean(SPLITS, INDEX, allow_leaks=params.split.leak == "released")
    leaks = audit_splits(INDEX, SPLITS)
    with registry.registering(), atomic_folder(REGISTRY) as folder:
        decisions = [_decide(params, music, leaks) for music in MUSIC]
        write_json(folder / "decision.json", decisions)
    for decision in decisions:
        chosen = decision["candidate"]
        click.echo(
            f"{decision['model']} version {decision['version']}: {decision['alias']} "
            f"({chosen['pairing']} {chosen['arch']} {chosen['transfer_mode']})"
        )
        for gate in decision["gates"] + decision["beside"]:
            click.echo(f"  {'yes' if gate['passed'] else 'no '} {gate['name']}: {gate['reason']}")


def _decide(params: Params, music: str, leaks: list[str]) -> dict[str, Any]:
    name = registry.model_name(music)
    digests = {clip.id: clip.digest for clip in read_index(INDEX, f"music-{music}")}
    folder, chosen = _best_on_validation(music)
    table = _repeat(folder / "predictions.csv", chosen)
    songs = Songs.of(table, digests)
    champion = registry.by_alias(name, registry.CHAMPION)
    rng = derive_rng(params.seed, "register", music)
    conditions = gates(
        songs, _songs_of(champion), leaks, params.registry.min_recall, params.registry.draws, rng
    )
    said = [
        beside(songs, Songs.of(control, digests), mode, params.registry.draws, rng)
        for mode in ("random_encoder", "scratch")
        if not (control := _repeat(CONTROLS / music / "predictions.csv", chosen, mode)).empty
    ]
    alias = registry.CHAMPION if all(gate.passed for gate in conditions) else registry.CHALLENGER
    tags = {key: chosen[key] for key in ("pairing", "arch", "transfer_mode", "repeat")} | {
        "protocol": params.protocol,
        "decision": alias,
        **{f"gate.{gate.name}": _verdict(gate) for gate in conditions},
        **{gate.name: _verdict(gate) for gate in said},
    }
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        bundle.mkdir()
        mode = chosen["transfer_mode"]
        shutil.copyfile(folder / f"{mode}.safetensors", bundle / WEIGHTS)
        write_json(bundle / DESCRIPTION, chosen)
        table.assign(digest=table["clip"].map(digests)).to_csv(
            bundle / TEST_PREDICTIONS, index=False
        )
        version = registry.register(name, bundle, chosen["run_id"], tags)
    if _number(registry.by_alias(name, registry.CHAMPION)) != _number(champion):
        # Another machine promoted one meanwhile: the lock is this checkout's alone.
        return _decide(params, music, leaks)
    registry.set_alias(version, alias)
    return {
        "model": name,
        "version": version.number,
        "alias": alias,
        "sha256": version.tags.get(registry.SHA256),
        "champion_before": champion.number if champion else None,
        "candidate": {
            key: chosen[key] for key in ("pairing", "arch", "transfer_mode", "repeat", "run_id")
        }
        | {"validation_f1": chosen["validation"]["quadrant_f1"]},
        "gates": [asdict(gate) for gate in conditions],
        "beside": [asdict(gate) for gate in said],
    }


def _number(version: registry.Version | None) -> str | None:
    return version.number if version else None


def _verdict(gate: Gate) -> str:
    return f"{'yes' if gate.passed else 'no'}: {gate.reason}"


def _best_on_validation(music: str) -> tuple[Path, dict[str, Any]]:
    """The folder and description of the checkpoint with the highest validation macro F."""
    candidates: list[tuple[float, Path, dict[str, Any]]] = []
    for pairing in PAIRINGS:
        for path in sorted((TRANSFER / pairing).glob("*.json")):
            if pairing.endswith(f"2{music}") and path.with_suffix(".safetensors").exists():
                chosen = read_json(path) | {"pairing": pairing}
                candidates.append((chosen["validation"]["quadrant_f1"], path.parent, chosen))
    _, folder, chosen = max(candidates, key=lambda candidate: candidate[0])
    return folder, chosen


def _repeat(path: Path, chosen: Mapping[str, Any], mode: str | None = None) -> pd.DataFrame:
    """The predictions of the chosen repeat and fold, or of a control's same repeat and fold."""
    table = pd.read_csv(path)
    rows = (table["transfer_mode"] == (mode or chosen["transfer_mode"])) & (
        table["repeat"] == chosen["repeat"]
    )
    found: pd.DataFrame = table[rows & (table["fold"] == chosen["fold"])]
    return found


def _songs_of(champion: registry.Version | None) -> Songs | None:
    """The present champion's decisions on its own test songs."""
    if champion is None:
        return None
    try:
        table = pd.read_csv(registry.bundle_of(champion) / TEST_PREDICTIONS)
    except UserError as lost:  # a champion that nobody can load cannot be defended
        click.echo(f"note: {lost}")
        return Songs((), np.array([], np.int64), np.array([], np.int64))
    return Songs.of(table, dict(zip(table["clip"], table["digest"], strict=True)))
