"""Models on disk: safetensors for the weights, a JSON description that rebuilds the module.

No pickle is written or read, and no params file is needed: the description holds every section
that shaped the network. A description NAME.json with `members` is one of an ensemble: the weights of
each member are in NAME-<repeat>-<fold>.safetensors, and their sha256 is in the description. One
without `members` (written by Recitative 0.1) has one file, NAME.safetensors.

What is loaded may come from anybody: it is bounded and verified before memory is taken for it.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recitative.config import Section
from recitative.errors import UserError
from recitative.files import atomic_path, sha256
from recitative.models import architecture, build_model, encoder_of
from recitative.models.classifier import TASKS, EmotionClassifier
from recitative.models.config import ClassifierConfig, EncoderConfig
from recitative.models.encoder import ConvEncoder

Description = dict[str, Any]

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"
DESCRIPTION_BYTES = 2**20  # a longer description is none
LARGEST = 10**6  # number in a description
LONGEST = 1000  # list in a description: layers, members
_WEIGHTS_NAME = re.compile(r"(.+)-(\d{1,6})-(\d{1,6})\.safetensors")


class Member(Section):
    """One network of an ensemble."""

    repeat: int = Field(ge=0)
    fold: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")  # of its weights' file
    validation: dict[str, float]  # scores


@dataclass(frozen=True)
class WeightsFile:
    """A network's weights, and the hash that they must have (None: nobody wrote it down)."""

    path: Path
    sha256: str | None


def describe(
    arch: str, encoder: EncoderConfig, config: Any, n_mels: int, frames: int
) -> Description:
    """What `build_pretrained` needs."""
    return {
        "arch": arch,
        "encoder": encoder.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
        "n_mels": n_mels,
        "frames": frames,
    }


def build_pretrained(description: Description) -> nn.Module:
    """A fresh pretraining model of the described shape."""
    arch = description["arch"]
    return build_model(
        arch,
        EncoderConfig.model_validate(description["encoder"]),
        architecture(arch).config.model_validate(description["config"]),
        description["n_mels"],
        description["frames"],
    )


def build_encoder(description: Description) -> ConvEncoder:
    """A fresh encoder of the described shape, as it is transferred."""
    return encoder_of(build_pretrained(description))


def build_classifier(description: Description, encoder: ConvEncoder) -> EmotionClassifier:
    """The classifier on top of `encoder`; the description has `head` and `classifier` too."""
    config = ClassifierConfig.model_validate(description["classifier"])
    return EmotionClassifier(encoder, description["head"], config)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a module's weights, whole or not at all."""
    state: dict[str, Tensor] = model.state_dict()
    tensors = {name: one.detach().cpu().contiguous().clone() for name, one in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def load_weights(path: Path, model: nn.Module) -> None:
    """Load what `save_weights` wrote.

    Raises:
        UserError: the file is missing, broken, or of a model of another shape.
    """
    try:
        model.load_state_dict(load_file(path))
    except Exception as error:  # safetensors' own error type has no stable name
        raise _unfit(path, error) from error


def weights_path(description: Path, repeat: int, fold: int) -> Path:
    """Where the weights of a member lie: beside the description."""
    return description.with_name(f"{description.stem}-{repeat}-{fold}.safetensors")


def locate(place: Path) -> tuple[Path, tuple[int, int] | None]:
    """The description that `place` means, and which member of it (None: all).

    It is a folder with model.json, a description, or the weights of one member.
    """
    if found := _WEIGHTS_NAME.fullmatch(place.name):
        member = (int(found[2]), int(found[3]))
        if (description := place.with_name(f"{found[1]}.json")).exists():
            return description, member
    if place.suffix in (".json", ".safetensors") and not place.is_dir():
        return place.with_suffix(".json"), None
    return place / DESCRIPTION, None


def read_description(path: Path) -> Description:
    """Read a description that may come from anybody.

    Raises:
        UserError: it is missing, too long, no JSON, or a number or list in it is absurd.
    """
    if not path.exists():
        raise UserError(
            f"{path.parent}: no {path.name} here; name a folder that holds a model, or one of the "
            "registry: mer-eng"
        )
    try:
        if not path.is_file() or path.stat().st_size > DESCRIPTION_BYTES:
            raise ValueError(f"no file of at most {DESCRIPTION_BYTES} bytes")
        description = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise TypeError(f"a {type(description).__name__} instead of an object")
        _bounded(description)
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise not_described(path, error) from error
    return description


def not_described(path: Path, error: Exception) -> UserError:
    """A file that does not describe a model, in one line."""
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"{path}: no description of a model ({reason}); get the model again, or run the stage that "
        "wrote it"
    )


def _bounded(value: Any) -> None:
    if isinstance(value, dict | list):
        if len(value) > LONGEST:
            raise ValueError(f"{len(value)} entries where at most {LONGEST} are expected")
        for one in value.values() if isinstance(value, dict) else value:
            _bounded(one)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN, too
        raise ValueError(f"the number {str(value)[:20]}; none is above {LARGEST}")


def weights_files(
    path: Path, description: Description, member: tuple[int, int] | None = None
) -> list[WeightsFile]:
    """The weights of a description that lies at `path`: of all members, or of one.

    Raises:
        UserError: the list of members is wrong, or has no such member.
    """
    if "members" not in description:
        return [WeightsFile(path.with_suffix(".safetensors"), None)]
    try:
        members = TypeAdapter(list[Member]).validate_python(description["members"])
    except ValueError as error:
        raise not_described(path, error) from error
    files = [
        WeightsFile(weights_path(path, one.repeat, one.fold), one.sha256)
        for one in members
        if member in (None, (one.repeat, one.fold))
    ]
    if not files or len({file.path for file in files}) < len(files):
        raise not_described(path, ValueError(f"members: {'doubled' if files else 'none'}"))
    return files


def fingerprint(folder: Path) -> str:
    """The sha256 by which a model is known, once all its files are verified.

    It is that of model.json, which holds the hashes of the weights; without `members`, that of the
    weights.

    Raises:
        UserError: a file is missing, or is not the one that the description names.
    """
    path = folder / DESCRIPTION
    files = weights_files(path, read_description(path))
    for file in files:
        _verify(file)
    return sha256(path if files[0].sha256 else files[0].path)


def _verify(file: WeightsFile) -> None:
    if not file.path.is_file():
        raise _unfit(file.path, FileNotFoundError("there is no such file"))
    if file.sha256 and sha256(file.path) != file.sha256:
        raise UserError(
            f"{file.path}: these are not the weights that the description beside them names (their "
            "sha256 differs): they were changed or damaged; get the model again, or run the stage "
            "that wrote them"
        )


def load_classifiers(description: Description, files: list[WeightsFile]) -> list[EmotionClassifier]:
    """The described classifier with each of the weights, in evaluation mode.

    The described network is built without memory, and weights stay in their files until they are
    read: a description that asks for more than the files hold costs nothing.

    Raises:
        UserError: weights are missing, changed, not finite, or of a model of another shape.
        ValueError, KeyError, TypeError, RuntimeError: the description describes no network.
    """
    models = []
    for file in files:
        try:
            with torch.device("meta"):
                model = build_classifier(description, build_encoder(description))
        except UserError as error:  # it names params.yaml, which has no part in this
            raise ValueError(str(error)) from error
        model.load_state_dict(_load_state(file, model.state_dict()), assign=True)
        for task, classes in TASKS.items():  # of training only, so in no file
            model.register_buffer(f"{task}_weights", torch.ones(classes), persistent=False)
        models.append(model.eval())
    return models


def _load_state(file: WeightsFile, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    _verify(file)
    try:
        state = load_file(file.path)
    except Exception as error:  # safetensors' own error type has no stable name
        raise _unfit(file.path, error) from error
    for name in sorted(expected.keys() | state.keys()):
        shapes = [
            f"{tuple(one[name].shape)} {one[name].dtype}" if name in one else "nothing"
            for one in (expected, state)
        ]
        if shapes[0] != shapes[1]:
            raise _unfit(file.path, ValueError(f"{name}: {shapes[0]} described, {shapes[1]} there"))
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise _unfit(file.path, ValueError(f"{name} has values that are no finite numbers"))
    return state


def _unfit(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: these weights do not fit the model described beside them "
        f"({' '.join(str(error).split())[:300]}); run the stage that wrote them again"
    )
