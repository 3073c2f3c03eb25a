"""Evaluation: metrics, statistics, agreement between listeners, and the verdict on each claim."""

from pydantic import Field

from recitative.config import Section


class EvaluateConfig(Section):
    """Parameters of the statistics."""

    draws: int = Field(default=2000, ge=100)  # of each bootstrap and permutation
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
