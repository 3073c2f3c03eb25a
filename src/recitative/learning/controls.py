"""Controls: what a score means next to no pretraining, no learning, and no network."""

from typing import Literal

from pydantic import Field

from recitative.config import Section
from recitative.learning.transfer import TransferConfig

Control = Literal[
    "majority", "stratified", "random_encoder", "scratch", "shuffled_labels", "mfcc_svm"
]


class ControlsConfig(Section):
    """Which controls are run, and what a network from scratch needs more than a fine-tuned one."""

    names: tuple[Control, ...] = ("majority", "stratified", "random_encoder", "scratch")
    scratch_epochs: int = Field(gt=0)
    scratch_learning_rate: float = Field(default=1e-3, gt=0)

    def transfer(self, config: TransferConfig) -> TransferConfig:
        """`config` with the released phase as the control `scratch` needs it."""
        released = config.released.model_copy(
            update={"epochs": self.scratch_epochs, "learning_rate": self.scratch_learning_rate}
        )
        return config.model_copy(update={"released": released})
