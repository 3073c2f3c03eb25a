"""Models: the shared encoder, the two ways to pretrain it, the classifier on top.

Adding an architecture: one file with its module (`encoder`, `losses`), its section in `config.py`,
and one entry in `ARCHITECTURES`. Importing this folder costs no torch: building a model does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from recitative.config import Section
from recitative.errors import UserError
from recitative.models.config import CPCConfig, EncoderConfig, SCAEConfig

if TYPE_CHECKING:
    from torch import nn

    from recitative.models.encoder import ConvEncoder

# Name, also of the module in this folder -> the class in it and its section of params.yaml.
ARCHITECTURES: dict[str, tuple[str, type[Section]]] = {
    "scae": ("SCAE", SCAEConfig),
    "cpc": ("CPC", CPCConfig),
}


def build_model(
    arch: str, encoder: EncoderConfig, config: Any, n_mels: int, frames: int
) -> "nn.Module":
    """A fresh model of the architecture `arch`, with torch's global generator as it stands.

    Raises:
        UserError: no such architecture.
    """
    config_of(arch)
    model_class: Any = getattr(import_module(f"{__name__}.{arch}"), ARCHITECTURES[arch][0])
    model: nn.Module = model_class(encoder, config, n_mels, frames)
    return model


def config_of(arch: str) -> type[Section]:
    """The type of the architecture's section.

    Raises:
        UserError: no such architecture.
    """
    if arch not in ARCHITECTURES:
        raise UserError(
            f"params.yaml: pretrain.arch: unknown architecture {arch!r}; "
            f"known: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[arch][1]


def encoder_of(model: "nn.Module") -> "ConvEncoder":
    """The part of a pretraining model that is transferred."""
    return cast("ConvEncoder", model.encoder)
