"""Models on disk: safetensors for the weights, a JSON description that rebuilds the module.

No pickle is written or read, and no params file is needed: the description holds every section
that shaped the network.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recitative.errors import UserError
from recitative.files import atomic_path
from recitative.models import build_model, config_of, encoder_of
from recitative.models.classifier import EmotionClassifier
from recitative.models.config import ClassifierConfig, EncoderConfig
from recitative.models.encoder import ConvEncoder

Description = dict[str, Any]


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
        config_of(arch).model_validate(description["config"]),
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
    tensors: dict[str, Tensor] = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
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
        raise UserError(
            f"{path}: these weights do not fit the model described beside them ({error}); "
            "run the stage that wrote them again"
        ) from error
