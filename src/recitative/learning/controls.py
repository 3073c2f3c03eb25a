"""Controls: what a score means next to no pretraining, no learning, and no network."""

from pydantic import Field, field_validator

from recitative.config import Section
from recitative.learning.baselines import BASELINES
from recitative.learning.transfer import TRANSFER_MODES, TransferConfig

NETWORKS = tuple(name for name, mode in TRANSFER_MODES.items() if mode.encoder == "random")
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
        return names

    def transfer(self, config: TransferConfig) -> TransferConfig:
        """`config` with the released phase as the control `scratch` needs it."""
        released = config.released.model_copy(
            update={"epochs": self.scratch_epochs, "learning_rate": self.scratch_learning_rate}
        )
        return config.model_copy(update={"released": released})
