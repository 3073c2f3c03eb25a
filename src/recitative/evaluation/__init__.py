"""Evaluation: metrics, statistics, agreement between listeners, and the verdict on each claim."""

from pydantic import Field

from recitative.config import Section


class AgreementConfig(Section):
    """Parameters of the agreement between listeners."""

    draws: int = Field(default=1000, ge=0)  # bootstrap resamples of each interval
    midpoint: float = 0.0  # of the raters' scale: what separates positive from negative


class EvaluateConfig(Section):
    """Parameters of the statistics."""

    draws: int = Field(default=2000, ge=100)  # of each bootstrap and permutation
