"""What tells one run from another: labels (params and tags alike) and where it comes from."""

import os
import subprocess
from typing import TYPE_CHECKING, Any

from recitative.experiment.places import FEATURES, SPLITS
from recitative.files import blake2b, read_json
from recitative.params import Params, flatten
from recitative.tracking.runs import Input
from recitative.vocabulary import setting_of

if TYPE_CHECKING:
    from recitative.learning.compute import Compute

DVCS_OWN = ("data.dvc", "dvc.lock")  # `dvc repro` rewrites them


def labels(
    params: Params, compute: "Compute | str", speech: str, music: str, mode: str, repeat: int | str
) -> dict[str, Any]:
    """The labels of a cell: logged as params and as tags, so that every view of MLflow has them."""
    pairing = "none" if music == "none" else f"{speech}2{music}"
    return {
        "pairing": pairing,
        "setting": "none" if pairing == "none" else setting_of(pairing),
        "speech_language": speech,
        "music_language": music,
        "arch": params.pretrain.arch,
        "transfer_mode": mode,
        "repeat": repeat,
        "protocol": params.protocol,
        "experiment": params.experiment,
        "labels": params.transfer.labels if music != "none" else "none",
        "device": str(compute),
    }


def run_params(params: Params, cell: dict[str, Any], *sections: str) -> dict[str, Any]:
    """The labels and every value of the sections that shaped the run."""
    values = params.model_dump(mode="json", include=set(sections))
    return cell | {"size": params.size, "seed": params.seed} | flatten(values)


def provenance(stage: str, *roles: str) -> dict[str, str]:
    """Tags: code, DVC experiment and stage, certificate and features.

    The run belongs to `stage`: DVC_STAGE may name another one, which computed it ahead. The `roles`
    are those whose split and features were read.
    """
    certificate = SPLITS / "certificate.json"  # agreement is measured without any split
    tags = code_version() | {
        "dvc_stage": stage,
        "dvc_experiment": os.environ.get("DVC_EXP_NAME", "workspace"),
        "certificate_hash": read_json(certificate)["hash"] if certificate.exists() else "none",
    }
    for role in roles:
        tags[f"split_hash.{role}"] = blake2b(SPLITS / f"{role}.csv")
    return tags | {f"feature_hash.{role}": feature_hash(role) for role in roles}


def feature_hash(role: str) -> str:
    """Which version of a role's features this is."""
    return str(read_json(FEATURES / role / "features.json")["feature_hash"])


def inputs(role: str, context: str) -> Input:
    """A role's features as a dataset of a run."""
    return Input(role, feature_hash(role), str(FEATURES / role), context)


def code_version() -> dict[str, str]:
    """Which commit this is, and whether anything differs from it but what DVC itself rewrites."""
    try:
        known = _git("ls-files", "dvc.yaml")  # a repository around the project says nothing of it
    except FileNotFoundError:
        return {"git_sha": "none (git is not installed)", "git_dirty": "unknown"}
    if not known:
        return {"git_sha": "none (no repository)", "git_dirty": "unknown"}
    changed = _git("status", "--porcelain", "--", ".", *(f":(exclude){name}" for name in DVCS_OWN))
    return {
        "git_sha": _git("rev-parse", "HEAD") or "none (no commit)",
        "git_dirty": str(bool(changed)).lower(),
    }


def _git(*arguments: str) -> str:
    """What git says; nothing where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
