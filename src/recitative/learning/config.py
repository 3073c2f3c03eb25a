"""The sections of params.yaml on learning. Light: to read the parameters nothing here needs torch.

What is transferred to music, and how, is an entry in `TRANSFER_MODES`: the modes of the paper
(Gómez-Cañón et al., ICASSP 2021, Section 3.3) and the controls beside them.
"""

import os
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from recitative.config import Section, unique
from recitative.models.config import ClassifierConfig, HeadKind

LabelKind = Literal["majority", "soft", "reliable"]


class ComputeConfig(Section):
    """What of the machine is used.

    Device, precision, compilation, threads and the devices of a strategy change a result in its
    rounding: they are parameters of the stages that train. The rest changes no result.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: bool = False  # torch.compile each training step; on CUDA alone
    backend: Literal["loky", "ray", "dask"] = "loky"  # loky: this machine
    # address of Ray's or Dask's; None: RAY_ADDRESS, DASK_SCHEDULER_ADDRESS
    cluster: str | None = None
    workers: int = Field(default=0, ge=0)  # processes side by side; 0: one a core
    gpus_per_task: float = Field(
        default=0, ge=0
    )  # of a cluster's, fractions too; 0: none asked for
    threads: int = Field(default=1, ge=1)  # threads a process; the bytes depend on it
    strategy: Literal["none", "ddp"] = "none"  # ddp: one pretraining on several devices at once
    devices: int = Field(default=1, ge=1)  # of a pretraining under ddp: GPUs, or processes on a CPU
    ahead: bool = True  # a cell of a matrix trains the others that are out of date beside it
    checkpoint_seconds: float = Field(default=30, ge=0)  # at most one checkpoint in this time, s

    @property
    def processes(self) -> int:
        """How many processes run side by side on this machine."""
        return self.workers or os.cpu_count() or 1


class FitConfig(Section):
    """How a model is fitted. Adam throughout, as in the paper."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)  # examples
    learning_rate: float = Field(gt=0)
    decay: float = Field(default=0.0, ge=0)  # lr / (1 + decay * n), Keras's rule
    decay_per: Literal["update", "epoch"] = "update"  # what n counts (C3: Keras counts updates)
    # a factor on top, from 1 at the first update to 0 after the last of `epochs`
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    patience: int = Field(default=0, ge=0)  # epochs without improvement; 0: never stop early
    min_improvement: float = Field(default=0.0, ge=0)  # share of the best validation loss
    keep: Literal["best", "last"] = "best"  # which epoch's weights stay loaded (C13)


class PretrainConfig(FitConfig):
    """Parameters of pretraining. `batch_size` counts segments, whatever the architecture."""

    arch: str


@dataclass(frozen=True)
class TransferMode:
    """How a classifier comes to be."""

    encoder: Literal["pretrained", "random"]  # pretrained on speech, or random
    # `frozen` trains the heads on codes computed once; `finetune` trains everything
    phase: Literal["frozen", "finetune"]
    after: str | None = None  # the mode whose result, of the same repeat, this one goes on from
    shuffled: bool = False  # whether the training labels are permuted among clips


TRANSFER_MODES = {
    "feature_extraction": TransferMode("pretrained", "frozen"),
    "full": TransferMode("pretrained", "finetune", after="feature_extraction"),
    "random_encoder": TransferMode("random", "frozen"),
    "scratch": TransferMode("random", "finetune"),
    "shuffled_labels": TransferMode("random", "frozen", shuffled=True),
}


class TransferConfig(Section):
    """Parameters of transfer; the controls use the same."""

    modes: tuple[str, ...] = ("feature_extraction", "full")
    repeats: int = Field(gt=0)  # fresh models a cell (C8)
    head: HeadKind = "flatten"
    classifier: ClassifierConfig = ClassifierConfig()
    class_weights: bool = True  # on all three heads (C12)
    # trained anew on the training and the validation part, with the settings that were scored on it
    refit: bool = False
    labels: LabelKind = "majority"  # what of the listeners' answers is learned from
    reliable_agreement: float = Field(default=0.6, ge=0, le=1)  # share of listeners, for `reliable`
    frozen: FitConfig
    finetune: FitConfig

    def of(self, mode: TransferMode) -> FitConfig:
        """How a mode is fitted."""
        return self.frozen if mode.phase == "frozen" else self.finetune

    def with_epochs(self, mode: TransferMode, epochs: int) -> "TransferConfig":
        """The same with so many epochs of a mode."""
        fitted = self.of(mode).model_copy(update={"epochs": epochs})
        return self.model_copy(update={mode.phase: fitted})

    @field_validator("modes")
    @classmethod
    def _known(cls, modes: tuple[str, ...]) -> tuple[str, ...]:
        known = [name for name, mode in TRANSFER_MODES.items() if mode.encoder == "pretrained"]
        if not modes or not set(modes) <= set(known):
            raise ValueError(f"each mode is one of {', '.join(known)}")
        return unique(modes)


NETWORKS = tuple(name for name, mode in TRANSFER_MODES.items() if mode.encoder == "random")
BASELINES = ("majority", "stratified", "mfcc_svm", "opensmile_svm")  # no network
CONTROLS = (*BASELINES, *NETWORKS)


class ControlsConfig(Section):
    """Which controls are run, and what a network from scratch needs more than a fine-tuned one."""

    names: tuple[str, ...] = CONTROLS
    scratch_epochs: int = Field(gt=0)
    scratch_learning_rate: float = Field(default=1e-3, gt=0)

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in CONTROLS]:
            raise ValueError(f"{unknown[0]!r} is no control; known: {', '.join(CONTROLS)}")
        return unique(names)

    def transfer(self, config: TransferConfig) -> TransferConfig:
        """`config` with the fine-tuning phase as the control `scratch` needs it."""
        finetune = config.finetune.model_copy(
            update={"epochs": self.scratch_epochs, "learning_rate": self.scratch_learning_rate}
        )
        return config.model_copy(update={"finetune": finetune})
