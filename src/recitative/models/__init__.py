"""Models: the shared encoder, the ways to pretrain it, the classifier on top.

Adding an architecture: one file with its module (`encoder`, `losses`), its section in `config.py`,
and one entry in `ARCHITECTURES`. Importing this folder costs no torch: building a model does.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from recitative.config import Section
from recitative.errors import UserError
from recitative.models.config import CPCConfig, EmotionConfig, EncoderConfig, SCAEConfig

if TYPE_CHECKING:
    from torch import nn

    from recitative.models.encoder import ConvEncoder


@dataclass(frozen=True)
class Architecture:
    """One way to pretrain the encoder."""

    section: str  # of params.yaml and of `search.space`; also the module in this folder
    model: str  # the class in it
    config: type[Section]
    speech: str = "speech"  # the roles that it learns from: `speech` or `emotion`
    shuffled: bool = False  # whether the labels of the training part are permuted among its clips

    @property
    def labelled(self) -> bool:
        """Whether it learns from labels."""
        return self.speech == "emotion"


ARCHITECTURES = {
    "scae": Architecture("scae", "SCAE", SCAEConfig),
    "cpc": Architecture("cpc", "CPC", CPCConfig),
    "emotion": Architecture("emotion", "Emotion", EmotionConfig, "emotion"),
    "shuffled_emotions": Architecture(
        "emotion", "Emotion", EmotionConfig, "emotion", shuffled=True
    ),
}


def build_model(
    arch: str, encoder: EncoderConfig, config: Any, n_mels: int, frames: int
) -> "nn.Module":
    """A fresh model of the architecture `arch`, with torch's global generator as it stands.

    Raises:
        UserError: no such architecture.
    """
    known = architecture(arch)
    model_class: Any = getattr(import_module(f"{__name__}.{known.section}"), known.model)
    model: nn.Module = model_class(encoder, config, n_mels, frames)
    return model


def architecture(arch: str) -> Architecture:
    """The architecture of this name.

    Raises:
        UserError: no such architecture.
    """
    if arch not in ARCHITECTURES:
        raise UserError(
            f"params.yaml: pretrain.arch: unknown architecture {arch!r}; "
            f"known: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[arch]


def encoder_of(model: "nn.Module") -> "ConvEncoder":
    """The part of a pretraining model that is transferred."""
    return cast("ConvEncoder", model.encoder)
