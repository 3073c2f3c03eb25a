"""The Keras peer in a process of its own: one JSON line says what to do, one says what it cost."""

import json
import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from benchmarks.peers import released_keras as released  # noqa: E402
from benchmarks.rounds import timed  # noqa: E402

TASKS = {"quadrant": 4, "arousal": 2, "valence": 2}


def build(model: str, norm: str, segments: int) -> tuple[Any, Any, Any]:
    """A compiled model, its input and its target, drawn from one seed."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((segments, released.MELS, released.FRAMES, 1), np.float32)
    if model == "scae":
        return released.scae(norm), x, x
    if model == "cpc":
        x = x.reshape(-1, 6, *x.shape[1:])
        return released.cpc(norm), x, np.arange(len(x)) % 2.0
    arch, phase = model.split("-")
    y = {task: rng.integers(classes, size=segments) for task, classes in TASKS.items()}
    rate = 1e-3 if phase == "frozen" else 5e-5
    return released.classifier(norm, arch, phase == "frozen", rate), x, y


def main() -> None:
    """Serve until the pipe is closed."""
    threads = int(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints does not come between
    built: dict[tuple[str, str, int], tuple[Any, Any, Any]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = asked["model"], asked["norm"], asked["segments"]
        if key not in built:
            built[key] = build(*key)
        model, x, y = built[key]
        work = model.train_on_batch if asked["do"] == "train" else model.test_on_batch
        cost = timed(lambda work=work, x=x, y=y: work(x, y))
        print(json.dumps({"cpu": cost.cpu, "wall": cost.wall}), file=answers, flush=True)


if __name__ == "__main__":
    main()
