"""What `size` and `protocol` mean: the value of each parameter that is `auto`.

Each line of a protocol is a row of the comparison of the paper, its release and sound practice
(docs/protocols.md; C1 to C22 are its row numbers).
"""

from typing import Any

AUTO = "auto"

SIZES: dict[str, dict[str, Any]] = {
    "demo": {
        "balance.speech_hours": 0.1,
        "balance.music_hours": 0.2,
        "cpc.stride": 2,
        "pretrain.epochs": 4,
        "pretrain.batch_size": 64,
        "pretrain.patience": 0,
        "transfer.repeats": 2,
        "transfer.frozen.epochs": 15,
        "transfer.frozen.batch_size": 64,
        "transfer.frozen.patience": 5,
        "transfer.released.epochs": 3,
        "transfer.released.batch_size": 64,
        "transfer.released.patience": 0,
        "controls.scratch_epochs": 6,
    },
    "paper": {
        "balance.speech_hours": 3.0,
        "balance.music_hours": 3.0,
        "cpc.stride": 6,
        "pretrain.epochs": 100,
        "pretrain.batch_size": 256,
        "pretrain.patience": 10,
        "transfer.repeats": 4,
        "transfer.frozen.epochs": 100,
        "transfer.frozen.batch_size": 244,
        "transfer.frozen.patience": 10,
        "transfer.released.epochs": 100,
        "transfer.released.batch_size": 244,
        "transfer.released.patience": 10,
        "controls.scratch_epochs": 100,
    },
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "corrected": {
        "split.group_by": "group",  # C21
        "split.leak": "none",  # C11
        "encoder.batch_norm": "channel",  # C18
        "encoder.standardize": "band",
        "cpc.gap": 1,  # C4
        "cpc.negatives": "cross_utterance",  # C4
        "pretrain.keep": "best",  # C13
        "transfer.classifier.block": [512, 512],  # C7
        "transfer.class_weights": True,  # C12
        "transfer.frozen.learning_rate": 1e-3,  # C3
        "transfer.frozen.keep": "best",  # C13
        "transfer.released.learning_rate": 5e-4,  # C3
        "transfer.released.keep": "best",  # C13
        "report.average": "macro",  # C9
    },
    "paper": {
        "split.group_by": "clip",
        "split.leak": "none",
        "encoder.batch_norm": "channel",
        "encoder.standardize": "none",
        "cpc.gap": 0,
        "cpc.negatives": "derangement",
        "pretrain.keep": "best",
        "transfer.classifier.block": [256, 256],
        "transfer.class_weights": True,
        "transfer.frozen.learning_rate": 1e-4,
        "transfer.frozen.keep": "best",
        "transfer.released.learning_rate": 5e-4,
        "transfer.released.keep": "best",
        "report.average": "macro",
    },
    "released": {
        "split.group_by": "clip",
        "split.leak": "released",
        "encoder.batch_norm": "time",
        "encoder.standardize": "none",
        "cpc.gap": 0,
        "cpc.negatives": "released",
        "pretrain.keep": "last",
        "pretrain.patience": 0,
        "transfer.classifier.block": [512, 512],
        "transfer.class_weights": False,
        "transfer.frozen.learning_rate": 1e-3,
        "transfer.frozen.keep": "last",
        "transfer.frozen.patience": 0,
        "transfer.released.learning_rate": 5e-5,
        "transfer.released.keep": "last",
        "transfer.released.patience": 0,
        "report.average": "weighted",
    },
}
