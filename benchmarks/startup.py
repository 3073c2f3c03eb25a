"""What the user waits for: `recitative --help`, and the first song of `recitative predict`."""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import soundfile

from benchmarks.features import song
from benchmarks.rounds import Cost
from benchmarks.training import classifier
from recitative.features.mel import FeatureConfig
from recitative.files import write_json
from recitative.models.config import ClassifierConfig, EncoderConfig, SCAEConfig
from recitative.models.storage import describe, save_weights


def measure(rounds: int, folder: Path) -> dict[str, float]:
    """Seconds, medians over new processes whose files are in the disk's cache; wall, and CPU beside."""
    audio, model = folder / "song.wav", folder / "model"
    soundfile.write(audio, song(16000, 1, 0), 16000)
    model.mkdir()
    description = describe("scae", EncoderConfig(), SCAEConfig(), 128, 31) | {
        "head": "flatten",
        "classifier": ClassifierConfig().model_dump(mode="json"),
        "features": FeatureConfig().model_dump(mode="json"),
    }
    write_json(model / "model.json", description)
    save_weights(model / "model.safetensors", classifier("scae", "channel", frozen=False))
    asked = {
        "recitative --help": ["--help"],
        "recitative predict of a 30 s song": ["predict", str(audio), "--model", str(model)],
    }
    numbers = {}
    for name, arguments in asked.items():
        costs = [_cost(arguments) for _ in range(rounds + 1)][1:]
        numbers[f"{name}, wall s"] = statistics.median(cost.wall for cost in costs)
        numbers[f"{name}, CPU s"] = statistics.median(cost.cpu for cost in costs)
    return numbers


def _cost(arguments: list[str]) -> Cost:
    command = [str(Path(sys.executable).with_name("recitative")), *arguments]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, wall)
