"""What is searched, declared in params.yaml: each parameter's kind and bounds, and how to search."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from recitative.config import Section

Choice = bool | int | float | str


class Dimension(Section):
    """One searched parameter.

    `log_uniform` and `uniform` draw a float between two bounds, `int` an integer with both bounds
    included, `categorical` one of the choices.
    """

    kind: Literal["log_uniform", "uniform", "int", "categorical"]
    values: tuple[Choice, ...]  # [low, high], or the choices

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind == "categorical":
            if not self.values:
                raise ValueError("values: [] has no choice in it")
            return self
        try:
            low, high = (float(value) for value in self.values)
        except ValueError as error:
            raise ValueError(
                f"values: {list(self.values)} are not two numbers [low, high]"
            ) from error
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"values: bounds upside down: low {low:g} is not below high {high:g}")
        if self.kind == "log_uniform" and low <= 0:
            raise ValueError(f"values: a logarithmic scale starts above 0, low is {low:g}")
        if self.kind == "int" and not (low.is_integer() and high.is_integer()):
            raise ValueError(f"values: {list(self.values)} are not two integers")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high of a kind that has them."""
        low, high = self.values
        return float(low), float(high)

    def probes(self) -> tuple[Choice, ...]:
        """Values that show whether a section takes what this dimension draws: ends and one between."""
        if self.kind == "categorical":
            return self.values
        low, high = self.bounds
        if self.kind == "int":
            return int(low), int(high)
        return low, low + (high - low) / math.e, high

    def __str__(self) -> str:
        return f"{self.kind} [{', '.join(map(str, self.values))}]"


class SearchConfig(Section):
    """Parameters of the Bayesian search; without any, there is none."""

    trials: int = Field(default=0, ge=0)  # finished ones in the study; 0: no search
    epochs: int = Field(default=3, gt=0)  # a trial
    seeds: int = Field(default=1, gt=0)  # trainings that a trial is averaged over
    max_segments: int = Field(default=0, ge=0)  # of speech a training sees; 0: all
    language: Literal["eng", "man", "mix"] = "mix"
    study: str = Field(default="main", pattern=r"^[A-Za-z0-9_.-]+$")  # label; a new one starts anew
    generation: int = Field(default=4, gt=0)  # trials asked for at once, whatever the workers
    sampler: Literal["gp", "tpe", "random"] = "gp"
    startup: int = Field(default=10, gt=0)  # finished trials before the sampler has a model
    pruner: Literal["halving", "none"] = "halving"
    over: Literal["all"] | tuple[str, ...] = "all"  # which entries of the space are searched
    space: dict[str, dict[str, Dimension]] = {}  # by architecture, by parameter
