"""Models: the shared encoder, the two ways to pretrain it, the classifier on top.

Adding an architecture: one file with its config and its module (`encoder`, `losses`), and one
entry in `ARCHITECTURES`.
"""

from typing import Any

from torch import nn

from recitative.config import Section
from recitative.errors import UserError
from recitative.models.cpc import CPC, CPCConfig
from recitative.models.encoder import ConvEncoder, EncoderConfig
from recitative.models.scae import SCAE, SCAEConfig

ARCHITECTURES: dict[str, tuple[type[nn.Module], type[Section]]] = {
    "scae": (SCAE, SCAEConfig),
    "cpc": (CPC, CPCConfig),
}


def build_model(
    arch: str, encoder: EncoderConfig, config: Any, n_mels: int, frames: int
) -> nn.Module:
    """A fresh model of the architecture `arch`, with torch's global generator as it stands.

    Raises:
        UserError: no such architecture.
    """
    model_class: Any = _known(arch)[0]
    model: nn.Module = model_class(encoder, config, n_mels, frames)
    return model


def config_of(arch: str) -> type[Section]:
    """The type of the architecture's section.

    Raises:
        UserError: no such architecture.
    """
    return _known(arch)[1]


def _known(arch: str) -> tuple[type[nn.Module], type[Section]]:
    if arch not in ARCHITECTURES:
        raise UserError(
            f"params.yaml: pretrain.arch: unknown architecture {arch!r}; "
            f"known: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[arch]


def encoder_of(model: nn.Module) -> ConvEncoder:
    """The part of a pretraining model that is transferred."""
    encoder = model.encoder
    if not isinstance(encoder, ConvEncoder):
        raise TypeError(f"{type(model).__name__}.encoder is no ConvEncoder")
    return encoder
