"""The models' sections of params.yaml. Light: to read the parameters nothing here needs torch."""

import math
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from recitative.config import Section

HeadKind = Literal["flatten", "pooled", "song"]


class EncoderConfig(Section):
    """Parameters of the shared encoder."""

    filters: tuple[PositiveInt, ...] = Field(default=(32, 64, 128), min_length=1)
    pools: tuple[PositiveInt, ...] = (4, 4, 2)  # max-pooling over mel after each layer, bands
    last_pool: int = Field(default=2, ge=1)  # the fourth pooling, before the latent, bands
    dropout: float = Field(default=0.25, ge=0, lt=1)
    batch_norm: Literal["channel", "time"] = "channel"  # `time`: the release (C18)
    standardize: Literal["band", "none"] = "band"  # per mel band, by the speech training part

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.filters) != len(self.pools):
            raise ValueError(
                f"filters {self.filters} and pools {self.pools} must be equally many: "
                "one pooling after each double layer"
            )
        return self

    @property
    def pooling(self) -> int:
        """Bands of the input to one row of the latent."""
        return math.prod(self.pools) * self.last_pool


class SCAEConfig(Section):
    """Parameters of SCAE alone."""

    noise: float = Field(default=0.3, ge=0)  # deviation, in units of the standardised input
    stride: int = Field(default=1, ge=1)  # segments from one example's start to the next's

    def offsets(self, frames: int, hop: int) -> list[int]:
        """Start of an example's only segment, in frames."""
        return [0]


class CPCConfig(Section):
    """Parameters of CPC alone."""

    past: int = Field(default=4, ge=1)  # segments
    future: int = Field(default=2, ge=1)  # segments
    gap: int = Field(default=1, ge=0)  # 0: contiguous, half overlapping (release); see `offsets`
    negatives: Literal["released", "derangement", "cross_utterance"] = "cross_utterance"
    projection: int = Field(default=256, ge=1)  # size of z
    context: int = Field(default=256, ge=1)  # size of the GRU's state
    code: Literal["projection", "conv"] = "projection"  # what is transferred (C5)
    stride: int = Field(default=6, ge=1)  # segments from one sequence's start to the next's

    def offsets(self, frames: int, hop: int) -> list[int]:
        """Start of each of the P+F segments from the sequence's start, in frames.

        With gap 0 all follow each other by `hop`, so that the last past and the first future
        segment share ``frames - hop`` frames (16 of 31; C4). With gap g >= 1 the first future
        starts where the last past ends, g - 1 hops later: nothing is shared.
        """
        past = [i * hop for i in range(self.past)]
        first = past[-1] + (hop if self.gap == 0 else frames + (self.gap - 1) * hop)
        return past + [first + i * hop for i in range(self.future)]


class EmotionConfig(Section):
    """Parameters of the supervised pretraining on emotional speech."""

    trunk: tuple[PositiveInt, ...] = (128,)  # FC sizes above the code's mean and deviation
    stride: int = Field(default=1, ge=1)  # segments from one example's start to the next's

    def offsets(self, frames: int, hop: int) -> list[int]:
        """Start of an example's only segment, in frames."""
        return [0]


ArchConfig = (
    SCAEConfig | CPCConfig | EmotionConfig
)  # what every section has: `stride` and `offsets`


class ClassifierConfig(Section):
    """Parameters of the layers above the encoder."""

    trunk: tuple[int, ...] = (512, 512, 512)  # FC sizes of the flatten head
    pooled_trunk: tuple[int, ...] = (128,)  # FC sizes of the pooled head
    block: tuple[int, ...] = (512, 512)  # FC sizes of each task's block (C7: 256 in the paper)
    pooled_block: tuple[int, ...] = ()
    standardize: bool = False  # each number of what the head reads, by the training part
    dropout: float = Field(default=0.25, ge=0, lt=1)
