"""`recitative register`: the best cell on validation, as an ensemble -> the registry, with reasons."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from recitative.corpora.certificate import audit_splits, require_clean
from recitative.corpora.demo import is_synthetic
from recitative.corpora.indexing import read_index
from recitative.errors import UserError
from recitative.evaluation import promotion
from recitative.evaluation.promotion import Gate, Songs, above_champion, averaged
from recitative.evaluation.statistics import Estimate
from recitative.experiment.places import CONTROLS, DATA, INDEX, REGISTRY, SPLITS, TRANSFER
from recitative.files import atomic_folder, read_json, write_json
from recitative.learning.config import TRANSFER_MODES
from recitative.models import architecture
from recitative.models.storage import DESCRIPTION, weights_path
from recitative.params import Params
from recitative.seeding import derive_rng
from recitative.tracking import registry
from recitative.tracking.store import project_root
from recitative.vocabulary import LANGUAGES, MUSIC, PAIRINGS

TEST_PREDICTIONS = "test_predictions.csv"  # in the bundle: a later candidate is compared on them
SYNTHETIC = (
    "**Synthetic** data: use these numbers to check the installation, not to draw conclusions."
)


@dataclass(frozen=True)
class Chosen:
    """A cell: one pairing in one transfer mode, all its repeats and folds."""

    pairing: str
    mode: str
    description: dict[str, Any]

    @property
    def path(self) -> Path:
        """Its description."""
        return TRANSFER / self.pairing / f"{self.mode}.json"

    @property
    def validation(self) -> float:
        """Quadrant macro F, mean over repeats and folds."""
        return float(self.description["validation"]["quadrant_f1"])


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
            f"({chosen['pairing']} {chosen['arch']} {chosen['transfer_mode']}, "
            f"{chosen['members']} networks averaged)"
        )
        for gate in decision["gates"]:
            click.echo(f"  {'yes' if gate['passed'] else 'no '} {gate['name']}: {gate['reason']}")
        for gate in decision["beside"]:
            click.echo(f"      {gate['reason']}")


def _decide(params: Params, music: str, leaks: list[str]) -> dict[str, Any]:
    name, draws = registry.model_name(music), params.registry.draws
    digests = {clip.id: clip.digest for clip in read_index(INDEX, f"music-{music}")}
    cell = _best_on_validation(music)
    table = _ensemble(cell.path.with_name("predictions.csv"), cell.mode)
    songs = Songs.of(table, digests)
    rng = derive_rng(params.seed, "register", music)
    conditions = promotion.gates(songs, leaks, params.registry.min_recall, draws, rng)
    said = [
        promotion.beside(songs, Songs.of(control, digests), mode, draws, rng)
        for mode in ("random_encoder", "scratch")
        if not (control := _ensemble(CONTROLS / music / "predictions.csv", mode)).empty
    ]
    scores = promotion.task_scores(table, draws, rng)
    synthetic = is_synthetic(DATA, INDEX)
    tags = {
        "pairing": cell.pairing,
        "arch": cell.description["arch"],
        "transfer_mode": cell.mode,
        "members": len(cell.description["members"]),
        "protocol": params.protocol,
        "synthetic": str(synthetic).lower(),
    }
    version = _register(name, cell, table.assign(digest=table["clip"].map(digests)), tags)
    # DVC runs an experiment in the workspace or in a copy of it.
    if "DVC_EXP_NAME" in os.environ or project_root() != Path.cwd().resolve():
        why = f"an experiment never moves the champion; `recitative promote {version.short}` does"
        conditions.append(Gate("no_experiment", False, why))
    while True:
        champion = registry.by_alias(name, registry.CHAMPION)
        rng = derive_rng(params.seed, "champion", music)
        judged = [*conditions, _against(champion, version, songs, draws, rng)]
        # Another machine may promote one meanwhile: the lock is this checkout's alone.
        if _number(registry.by_alias(name, registry.CHAMPION)) == _number(champion):
            break
    passed = all(gate.passed for gate in judged) or _number(champion) == version.number
    alias = registry.CHAMPION if passed else registry.CHALLENGER
    registry.set_alias(version, alias)
    told = {f"gate.{g.name}": f"{'yes' if g.passed else 'no'}: {g.reason}" for g in judged}
    told |= {g.name.replace("beats_", "against_"): g.reason for g in said}  # numbers: no condition
    registry.describe(
        version,
        {"decision": alias} | told,
        _about(cell, params, scores, len(songs.true), synthetic),
        Path(__file__)
        .with_name("model.txt")
        .read_text(encoding="utf-8")
        .format(language=LANGUAGES[music]),
    )
    return {
        "model": name,
        "version": version.number,
        "alias": alias,
        "sha256": version.tags.get(registry.SHA256),
        "champion_before": _number(champion),
        "candidate": {key: tags[key] for key in ("pairing", "arch", "transfer_mode", "members")}
        | {"validation_f1": cell.validation},
        "gates": [asdict(gate) for gate in judged],
        "beside": [asdict(gate) for gate in said],
    }


def _best_on_validation(music: str) -> Chosen:
    """The cell with the highest mean validation macro F, the first of equals."""
    cells = [
        Chosen(pairing, mode, read_json(path))
        for pairing in PAIRINGS
        if pairing.endswith(f"2{music}")
        for mode in TRANSFER_MODES
        if (path := TRANSFER / pairing / f"{mode}.json").exists()
    ]
    if not cells:
        raise UserError(f"{TRANSFER}: no model for {LANGUAGES[music]} music; run `dvc repro`")
    return max(cells, key=lambda cell: cell.validation)


def _ensemble(path: Path, mode: str) -> pd.DataFrame:
    """The predictions of a mode, averaged over its repeats; no row where there is no such mode."""
    table = pd.read_csv(path)
    return averaged(table[table["transfer_mode"] == mode])


def _register(
    name: str, cell: Chosen, predictions: pd.DataFrame, tags: Mapping[str, Any]
) -> registry.Version:
    """Register the ensemble of a cell: its description, weights and test predictions."""
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        bundle.mkdir()
        for member in cell.description["members"]:
            which = (member["repeat"], member["fold"])
            copied = weights_path(bundle / DESCRIPTION, *which)
            shutil.copyfile(weights_path(cell.path, *which), copied)
        write_json(bundle / DESCRIPTION, cell.description | {"pairing": cell.pairing})
        predictions.to_csv(bundle / TEST_PREDICTIONS, index=False)
        run_id = read_json(cell.path.with_name("run.json"))["parent"]
        return registry.register(name, bundle, run_id, tags)


def _against(
    champion: registry.Version | None, version: registry.Version, songs: Songs, draws: int,
    rng: np.random.Generator,
) -> Gate:  # fmt: skip
    """Whether the candidate may take the champion's place."""
    if champion is None:
        return above_champion(songs, None, draws, rng)
    if champion.number == version.number:
        return Gate("above_champion", True, "it is the champion already")
    try:
        return above_champion(songs, songs_of(champion), draws, rng)
    except UserError as lost:
        help_ = f"`recitative promote {version.short}` puts this version in its place"
        return Gate("above_champion", False, f"the champion cannot be compared: {lost}; {help_}")


def songs_of(version: registry.Version) -> Songs:
    """A version's decisions on its own test songs.

    Raises:
        UserError: its files are lost or changed, or hold no such predictions.
    """
    path = registry.bundle_of(version) / TEST_PREDICTIONS
    try:
        table = pd.read_csv(path)
        return Songs.of(table, dict(zip(table["clip"], table["digest"], strict=True)))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{version.short}: {path.name} cannot be read ({reason})") from error


def _about(
    cell: Chosen, params: Params, scores: Mapping[str, Estimate], songs: int, synthetic: bool
) -> str:
    """What a version is, what it was trained on, and its scores."""
    speech, music = cell.pairing.split("2")
    members = cell.description["members"]
    repeats, folds = (len({member[key] for member in members}) for key in ("repeat", "fold"))
    roles = read_json(SPLITS / "certificate.json")["roles"]
    heard = {
        role: f" ({hours:.2g} h)"
        for role, parts in roles.items()
        if (hours := parts.get("train", {}).get("hours")) is not None
    }
    figures = ", ".join(
        f"{task} {e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for task, e in scores.items()
    )
    role = f"{architecture(cell.description['arch']).speech}-{speech}"
    kind = "emotional speech" if role.startswith("emotion") else "speech"
    lines = [
        f"The average of {len(members)} networks ({repeats} repeats, {folds} fold{'s' * (folds > 1)}): "
        f"{cell.description['arch'].upper()}, {cell.mode}, {cell.pairing}, protocol {params.protocol}.",
        f"Pretrained on {LANGUAGES[speech]} {kind}{heard.get(role, '')}, trained on "
        f"{LANGUAGES[music]} music{heard.get(f'music-{music}', '')}.",
        f"Macro F on {songs} test songs, 95 % interval: {figures}."
        + (" No network has a say on a song that it was trained on." if folds > 1 else ""),
    ]
    return "\n\n".join([*lines, SYNTHETIC] if synthetic else lines)


def _number(version: registry.Version | None) -> str | None:
    return version.number if version else None
