"""Checkpoints of a running training, as one safetensors file: no pickle, whole or not at all."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from recitative.files import atomic_path


@dataclass
class Checkpoint:
    """A file that holds everything a killed training needs to go on to the same result."""

    path: Path  # absent before the first save
    # Save at most once in this time (the last epoch of a phase is not saved: its result is).
    seconds: float = 0.0
    _last: float = field(default=float("-inf"), repr=False)

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.seconds

    def save(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Write groups of named tensors and a JSON-able state."""
        flat = {
            f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
            for group, named in tensors.items()
            for name, tensor in named.items()
        }
        with atomic_path(self.path) as temporary:
            save_file(flat, temporary, metadata={"state": json.dumps(state)})
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
        """What `save` wrote, or None where there is nothing."""
        from safetensors import safe_open

        if not self.path.exists():
            return None
        tensors: dict[str, dict[str, Tensor]] = {}
        with safe_open(self.path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            for key in file.keys():  # noqa: SIM118  (no mapping)
                group, name = key.split("/", 1)
                tensors.setdefault(group, {})[name] = file.get_tensor(key)
        return tensors, state

    def remove(self) -> None:
        """Delete the file: what it led to is finished."""
        self.path.unlink(missing_ok=True)


def adam_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of Adam as named tensors: `<index>/<name>`."""
    return {
        f"{index}/{name}": torch.as_tensor(value)
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def restore_adam(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `adam_tensors` gave."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Fused Adam walks a parameter and its moments in memory order: they must lie alike,
            # channels last too, which the file does not keep.
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        moments.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
