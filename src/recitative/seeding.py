"""Seeds: a stable stream for every cell, so that adding a cell shifts no other's numbers."""

import hashlib
import random

import numpy as np


def derive_seed(root: int, *labels: str | int) -> int:
    """A 63-bit seed for the stream that `labels` name, e.g. ``("transfer", "scae", "eng2man", 0)``.

    SHA-256 over the labels' text: equal on every machine, and unrelated between any two labels.
    """
    text = "\x1f".join(str(part) for part in (root, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_rng(root: int, *labels: str | int) -> np.random.Generator:
    """A numpy generator on the stream that `labels` name."""
    return np.random.default_rng(derive_seed(root, *labels))


def seed_everything(seed: int) -> None:
    """Seed Python's and torch's global generators, which torch's initialisers and dropout draw on.

    Numpy's legacy global generator is left alone: nothing here may use it.
    """
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
