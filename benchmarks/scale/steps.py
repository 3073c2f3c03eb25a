"""The steps, each a process of its own in the project's folder: `python -m benchmarks.scale.steps NAME`.

Each prints what it cost as JSON. Memory is of the process: `peak_mb` with the pages of files that it maps
(VmHWM), `own_mb` without them (RssAnon, the highest of a look every 20 ms).
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from recitative.experiment.places import INDEX, SPLITS
from recitative.params import Params, load_params

ROLE = "speech-mix"  # all hours
STATISTICS = 1000  # clips whose frames are read for the mean and deviation of each band


def index(params: Params) -> dict[str, float]:
    """The stage `index`."""
    from recitative.stages import index as stage

    stage.run(params)
    return {}


def split(params: Params) -> dict[str, float]:
    """The stage `split`."""
    from recitative.stages import split as stage

    stage.run(params)
    return {}


def plan(params: Params) -> dict[str, float]:
    """The stage `featurize`, as far as it reads no audio."""
    from recitative.features.extraction import expected_bytes
    from recitative.stages import featurize

    clips = chain.from_iterable(featurize.plan().values())
    return {"gigabytes": expected_bytes(clips, params.features) / 1e9}


def sampling(params: Params) -> dict[str, float]:
    """The stage `pretrain` without the network: it checks the certificate and draws one epoch."""
    from recitative.corpora.certificate import require_clean
    from recitative.experiment.speech import read_speech
    from recitative.features.store import band_statistics
    from recitative.learning.pretraining import speech_batches
    from recitative.seeding import derive_rng

    require_clean(SPLITS, INDEX)
    speech = read_speech(ROLE, params.features)
    ready = time.perf_counter()
    some = speech.parts["train"][:: max(1, len(speech.parts["train"]) // STATISTICS)]
    band_statistics(speech.store, some)
    statistics = time.perf_counter() - ready
    began = time.perf_counter()
    batches = speech_batches(
        speech.store, speech.parts["train"], params.arch, speech.frames, speech.hop
    )
    segments = 0
    for batch in batches.epoch(params.pretrain.batch_size, derive_rng(params.seed, "order", 0)):
        segments += len(batch["x"])
    frames = sum(speech.store.spans[clip][1] for clip in some)
    hours = frames * params.features.hop_length / params.features.sample_rate / 3600
    return {
        "segments": segments,
        "shards": len(list(speech.store.folder.glob("frames-*.npy"))),
        "microseconds_a_segment": (time.perf_counter() - began) / segments * 1e6,
        "statistics_seconds_an_hour": statistics / hours,
    }


STEPS: dict[str, Callable[[Params], dict[str, float]]] = {
    "index": index, "split": split, "plan": plan, "sampling": sampling,
}  # fmt: skip


def status(name: str) -> float:
    """A line of /proc/self/status of this process, MB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) * 1024 / 1e6


def main(name: str) -> None:
    """Run one step here; print its cost."""
    params = load_params()
    own, done = [0.0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            own[0] = max(own[0], status("RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            told = STEPS[name](params)
    finally:
        done.set()
        watcher.join()
    cost = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        # Not ru_maxrss: that begins with the memory of the process which started this one.
        "peak_mb": status("VmHWM"),
        "own_mb": own[0],
    }
    print(json.dumps(cost | told))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1])
