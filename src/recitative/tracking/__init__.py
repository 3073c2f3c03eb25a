"""Tracking: MLflow's runs and registry. The only folder that imports mlflow."""

from pydantic import Field

from recitative.config import Section


class RegistryConfig(Section):
    """What a model must show before it becomes champion."""

    min_recall: float = Field(default=0.05, ge=0, le=1)  # of every quadrant, song level
    draws: int = Field(default=2000, ge=100)  # of the bootstraps
