"""What `size` and `protocol` mean: the value of each parameter that is `auto`.

Each line of a protocol is a row of the comparison of the paper, its release and sound practice
(docs/protocols.md; C1 to C22 are its row numbers): `ROWS` says which.
"""

from dataclasses import dataclass
from typing import Any

from recitative.errors import UserError

AUTO = "auto"

SIZES: dict[str, dict[str, Any]] = {
    "demo": {
        "balance.speech_hours": 0.08,
        "balance.music_hours": 0.2,
        "cpc.stride": 2,
        "search.trials": 8,
        "search.epochs": 2,
        "search.startup": 4,
        "search.max_segments": 192,
        "pretrain.epochs": 3,
        "pretrain.batch_size": 64,
        "pretrain.patience": 0,
        "transfer.repeats": 2,
        "transfer.frozen.epochs": 8,
        "transfer.frozen.batch_size": 64,
        "transfer.frozen.patience": 3,
        "transfer.finetune.epochs": 2,
        "transfer.finetune.batch_size": 64,
        "transfer.finetune.patience": 0,
        "controls.scratch_epochs": 3,
    },
    "paper": {
        "balance.speech_hours": 3.0,
        "balance.music_hours": 3.0,
        "cpc.stride": 6,
        "search.trials": 40,
        "search.epochs": 3,
        "search.startup": 10,
        "search.max_segments": 0,
        "pretrain.epochs": 100,
        "pretrain.batch_size": 256,
        "pretrain.patience": 10,
        "transfer.repeats": 4,
        "transfer.frozen.epochs": 100,
        "transfer.frozen.batch_size": 244,
        "transfer.frozen.patience": 10,
        "transfer.finetune.epochs": 100,
        "transfer.finetune.batch_size": 244,
        "transfer.finetune.patience": 10,
        "controls.scratch_epochs": 100,
    },
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "corrected": {
        "split.group_by": "group",
        "split.leak": "none",
        "encoder.batch_norm": "channel",
        "encoder.standardize": "band",
        "cpc.gap": 1,
        "cpc.negatives": "cross_utterance",
        "search.over": "all",
        "pretrain.keep": "best",
        "transfer.classifier.block": [512, 512],
        "transfer.class_weights": True,
        "transfer.frozen.learning_rate": 1e-3,
        "transfer.frozen.keep": "best",
        "transfer.finetune.learning_rate": 5e-4,
        "transfer.finetune.keep": "best",
        "report.average": "macro",
    },
    "paper": {
        "split.group_by": "clip",
        "split.leak": "none",
        "encoder.batch_norm": "channel",
        "encoder.standardize": "none",
        "cpc.gap": 0,
        "cpc.negatives": "derangement",
        "search.over": ["learning_rate", "decay"],
        "pretrain.keep": "best",
        "transfer.classifier.block": [256, 256],
        "transfer.class_weights": True,
        "transfer.frozen.learning_rate": 1e-4,
        "transfer.frozen.keep": "best",
        "transfer.finetune.learning_rate": 5e-4,
        "transfer.finetune.keep": "best",
        "report.average": "macro",
    },
    "released": {
        "split.group_by": "clip",
        "split.leak": "released",
        "encoder.batch_norm": "time",
        "encoder.standardize": "none",
        "cpc.gap": 0,
        "cpc.negatives": "released",
        "search.over": ["learning_rate", "decay"],
        "pretrain.keep": "last",
        "pretrain.patience": 0,
        "transfer.classifier.block": [512, 512],
        "transfer.class_weights": False,
        "transfer.frozen.learning_rate": 1e-3,
        "transfer.frozen.keep": "last",
        "transfer.frozen.patience": 0,
        "transfer.finetune.learning_rate": 5e-5,
        "transfer.finetune.keep": "last",
        "transfer.finetune.patience": 0,
        "report.average": "weighted",
    },
}

# The row of docs/protocols.md that each parameter of a protocol comes from.
ROWS = {
    "split.group_by": "C21",
    "split.leak": "C11",
    "encoder.batch_norm": "C18",
    "encoder.standardize": "ours",
    "cpc.gap": "C4",
    "cpc.negatives": "C4",
    "search.over": "C6",
    "pretrain.keep": "C13",
    "pretrain.patience": "C13",
    "transfer.classifier.block": "C7",
    "transfer.class_weights": "C12",
    "transfer.frozen.learning_rate": "C3",
    "transfer.frozen.keep": "C13",
    "transfer.frozen.patience": "C13",
    "transfer.finetune.learning_rate": "C3",
    "transfer.finetune.keep": "C13",
    "transfer.finetune.patience": "C13",
    "report.average": "C9",
}
BY_SIZE = "by size"  # what a protocol says nothing of


@dataclass(frozen=True)
class Differing:
    """One parameter that two protocols set differently, and the row that says why."""

    parameter: str
    first: Any
    second: Any
    row: str


def protocol_diff(first: str, second: str) -> list[Differing]:
    """What differs between two protocols, in the order of the parameters.

    Raises:
        UserError: an unknown protocol; the known ones are listed.
    """
    for name in (first, second):
        if name not in PROTOCOLS:
            raise UserError(f"{name}: no such protocol; choose of {', '.join(PROTOCOLS)}")
    a, b = PROTOCOLS[first], PROTOCOLS[second]
    return [
        Differing(name, a.get(name, BY_SIZE), b.get(name, BY_SIZE), row)
        for name, row in ROWS.items()
        if a.get(name, BY_SIZE) != b.get(name, BY_SIZE)
    ]
