"""`recitative cost`: what a grid of experiments will take of this machine, before it starts.

A calibration of about a minute times each kind of work as it will run, as many processes side by side,
on frames of noise, since their numbers do not matter to how long a network takes; the rest is
arithmetic over the parameters, printed line by line. Epochs are counted in full: where early
stopping is on, the training may take less and never more.
"""

import heapq
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat, timeit
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import psutil
import yaml

from recitative.audio import load_audio
from recitative.errors import UserError
from recitative.experiment.music import classifier_description
from recitative.experiment.parallel import in_parallel
from recitative.experiment.places import INDEX
from recitative.experiment.speech import pretrained_description
from recitative.features.mel import log_mel
from recitative.features.store import FeatureStore, write_store
from recitative.files import read_csv
from recitative.learning.config import BASELINES, NETWORKS, TRANSFER_MODES, FitConfig
from recitative.params import Params, params_of, read_values
from recitative.vocabulary import MUSIC, PAIRINGS, QUADRANTS, SPEECH

GIB = 1024**3
SONG_SECONDS = 30  # of the paper's clips
STAGES = 20  # processes that `dvc repro` starts, one after another
HEAVY = 17  # of them import torch, scipy or MLflow
DVC_SECONDS = 1.5  # a stage: hashing, locking, copying
COMPARED = 130  # paired differences and intervals that evaluate, claims and report draw
WEIGHTS = 26e6  # bytes of a classifier
CLIPS, CLIP_FRAMES = 14, 400  # of noise, of each kind; a clip is about 13 s


@dataclass(frozen=True)
class Rates:
    """Seconds of one process, with as many beside it as will be."""

    pretrain: float  # an epoch, for an hour of speech, its validation included
    encode: float  # the codes of an hour of music
    frozen: float  # an epoch of the heads on cached codes, for an hour of music
    finetune: float  # an epoch of everything, for an hour of music
    predict: float  # the test part of an hour of music
    memory: float  # bytes that the process came to hold


@dataclass(frozen=True)
class Machine:
    """What the calibration found; seconds and bytes."""

    rates: Mapping[str, Rates]  # by architecture
    audio: float  # s an hour of audio, to features
    start: float  # s until a process has imported what a training needs
    run: float  # s of figures and logging around a run
    compared: float  # s of one paired difference with its bootstrap
    processes: int


@dataclass(frozen=True)
class Line:
    """One line of the estimate: trainings, seconds of one process, seconds on the clock."""

    what: str
    trainings: int
    work: float
    wall: float


def run(params_file: Path, overrides: Sequence[str]) -> None:
    """Calibrate, and print what every experiment of the grid takes, and the whole.

    The overrides of the present parameters are as of `recitative matrix`: commas make the grid.

    Raises:
        UserError: an override is not ``name=value``, or its name is unknown.
    """
    grid = list(experiments(params_file, overrides))
    click.echo("calibrating, about a minute ...", err=True)
    machine = calibrate([params for _, params in grid])
    shared = _shared(grid, machine)
    whole = -shared
    for name, params in grid:
        lines = list(estimate(params, machine))
        whole += sum(line.wall for line in lines)
        click.echo(format_lines(name or "as params.yaml has it", lines))
    peak = max(rates.memory for rates in machine.rates.values()) * machine.processes
    click.echo(
        f"\n{len(grid)} experiment{'s' if len(grid) > 1 else ''}: {clock(whole)} on the clock with "
        f"{machine.processes} processes"
        + (f" (features shared: {clock(shared)} less)" if shared else "")
        + f"; memory about {peak / GIB:.1f} GB; disk about {_disk(grid) / GIB:.1f} GB. Where early "
        "stopping is on, these are the most."
    )


def experiments(params_file: Path, overrides: Sequence[str]) -> Iterator[tuple[str, Params]]:
    """Each combination of the overrides, named, with its parameters."""
    values = read_values(params_file)
    named = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not text:
            raise UserError(f"{override}: write NAME=VALUE, or NAME=VALUE,VALUE for a grid")
        named.append([(name, choice) for choice in text.split(",")])
    for chosen in itertools.product(*named):
        here = yaml.safe_load(yaml.safe_dump(values))
        for name, text in chosen:
            *sections, leaf = name.split(".")
            holder: Any = here
            for section in sections:
                holder = holder.get(section) if isinstance(holder, dict) else None
            if not isinstance(holder, dict) or leaf not in holder:
                why = "no such parameter; `recitative params` lists them"
                raise UserError(f"{params_file}: {name}: {why}")
            holder[leaf] = yaml.safe_load(text)
        yield " ".join(f"{name}={text}" for name, text in chosen), params_of(here, params_file.name)


def calibrate(grid: Sequence[Params]) -> Machine:
    """Time each architecture of the grid, in as many processes at once as there will be."""
    first = grid[0]
    processes = first.compute.processes
    rates = {}
    for params in {one.pretrain.arch: one for one in grid}.values():
        found = in_parallel(measure, [(params,)] * processes, params.compute)
        rates[params.pretrain.arch] = Rates(*np.mean([astuple(one) for one in found], axis=0))
    command = [sys.executable, "-c", "import recitative.stages.transfer, mlflow"]
    start = timeit(lambda: subprocess.run(command, check=True), number=1)
    return Machine(rates, _audio(first), start, _run(), _compared(first), processes)


def measure(params: Params) -> Rates:
    """Time every kind of work once, after a first time that does not count."""
    from recitative.learning.compute import Compute
    from recitative.learning.emotions import emotion_codes
    from recitative.learning.pretraining import Speech, prepare
    from recitative.learning.segments import LabelledSegments
    from recitative.learning.training import Epoch, fit
    from recitative.learning.transfer import Parts, encode, fit_mode, predict_segments
    from recitative.models.storage import build_classifier, build_encoder

    def short(config: FitConfig) -> FitConfig:
        return config.model_copy(update={"epochs": 2, "patience": 0})

    def last(epochs: Iterator[Epoch]) -> float:
        return list(epochs)[-1].seconds

    compute, features = Compute.decide(params.compute), params.features
    frames, hop = features.segment_frames, features.segment_hop
    hours = CLIPS * CLIP_FRAMES * features.hop_length / features.sample_rate / 3600
    with TemporaryDirectory(prefix="recitative-cost-") as folder:
        noise, rng = Path(folder) / "noise", np.random.default_rng(0)
        shape = CLIP_FRAMES, features.n_mels
        clips = ((f"clip/{n:02}", rng.standard_normal(shape, np.float32)) for n in range(CLIPS))
        write_store(noise, clips)
        store = FeatureStore.open(noise)
        ids = list(store.clip_ids)
        cut = round(0.85 * len(ids))
        parts = {"train": ids[:cut], "validation": ids[cut:]}
        labels = {name: emotion_codes(QUADRANTS[n % 4], None, None) for n, name in enumerate(ids)}
        speech = Speech(store, parts, frames, hop, labels)
        made = prepare(speech, params.pretrain, params.encoder, params.arch, 0)
        config = short(made.config)
        pretrain = last(fit(made.model, made.train, made.validation, config, compute, 0))

        songs: list[Any] = [
            SimpleNamespace(id=name, group=name, quadrant=QUADRANTS[place % 4])
            for place, name in enumerate(ids)
        ]
        music = LabelledSegments.load(store, songs, frames, hop)
        count = len(music.start)  # of music 59.5 % is for training, 10.5 % for validation
        music_parts = Parts(*np.split(np.arange(count), [round(s * count) for s in (0.595, 0.7)]))
        description = classifier_description(params, pretrained_description(params))
        model = build_classifier(description, build_encoder(description))
        out = Path(folder) / "codes.npy"
        encoded = _seconds(lambda: encode(model, music, compute, out))
        codes = np.load(out, mmap_mode="r")
        update = {name: short(getattr(params.transfer, name)) for name in ("frozen", "finetune")}
        brief = params.transfer.model_copy(update=update)
        frozen, finetune = (
            last(
                fit_mode(TRANSFER_MODES[name], model, music, music_parts, codes, brief, compute, 0)
            )
            for name in ("feature_extraction", "full")
        )
        predict = _seconds(lambda: predict_segments(model, music, music_parts.test, compute))
    found = [one / hours for one in (pretrain, encoded, frozen, finetune, predict)]
    return Rates(*found, *[float(psutil.Process().memory_info().rss)])


def _seconds(work: Callable[[], object]) -> float:
    """How long it takes the second time."""
    return repeat(work, number=1, repeat=2)[1]


def _audio(params: Params) -> float:
    """Seconds from a FLAC file to frames, for an hour; a minute of noise is timed."""
    import soundfile

    features = params.features
    with TemporaryDirectory(prefix="recitative-cost-") as folder:
        path = Path(folder) / "noise.flac"
        noise = np.random.default_rng(0).normal(0, 0.1, 60 * features.sample_rate)
        soundfile.write(path, noise, features.sample_rate)
        return 60 * _seconds(lambda: log_mel(load_audio(path, features.sample_rate), features))


def _run() -> float:
    """A training's run without its training, in a store of its own in another process."""
    with (
        TemporaryDirectory(prefix="recitative-cost-") as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other,
    ):
        return other.submit(_run_once, folder).result()


def _run_once(folder: str) -> float:
    os.environ |= {"DVC_ROOT": folder, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    from recitative.reports.figures import history_figure
    from recitative.tracking.runs import open_run

    row = {"epoch": 0, "train_loss": 1.0, "validation_loss": 1.0, "best": 1}

    def work() -> None:
        with open_run("calibration", dict.fromkeys(map(str, range(60)), 0), {}) as tracked:
            for step in range(8):
                tracked.log_metrics({"train_loss": 1.0, "validation_loss": 1.0}, step=step)
            for figure in range(4):
                tracked.log_figure(history_figure([row]), f"{figure}.png")

    return _seconds(work)  # the first time makes the store


def _compared(params: Params) -> float:
    """One paired difference, on as many songs as will be tested."""
    from recitative.evaluation.contrasts import contrast, pair, permutation_p

    songs = max(10, round(0.3 * _hours(params)[1] * 3600 / SONG_SECONDS))
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=songs)
    a, b = (rng.integers(4, size=(params.transfer.repeats, songs)) for _ in range(2))
    draws, sets = params.evaluate.draws, pair(true, a, b)

    def compare() -> None:
        contrast(sets, 4, rng, draws=draws)
        permutation_p(sets, 4, rng, draws=draws)

    return timeit(compare, number=1)


def estimate(params: Params, machine: Machine) -> Iterator[Line]:
    """The lines of one experiment."""
    rates = machine.rates[params.pretrain.arch]
    speech, music = _hours(params)
    side, transfer, folds = machine.processes, params.transfer, _folds(params)

    def line(what: str, tasks: Sequence[float], trainings: int | None = None) -> Line:
        begun = machine.start if tasks else 0.0  # the workers' imports
        count = len(tasks) if trainings is None else trainings
        return Line(what, count, sum(tasks), makespan(tasks, side) + begun)

    yield line("features", [machine.audio * (2 * speech + len(MUSIC) * music) / side] * side, 0)
    search = params.search
    if search.trials:
        features = params.features
        segment = features.segment_hop * features.hop_length / features.sample_rate / 3600  # h
        seen = min(speech, search.max_segments * segment) if search.max_segments else speech
        trial = search.seeds * search.epochs * rates.pretrain * seen + machine.run
        yield line("search", [trial] * search.trials)
    pretrained = params.pretrain.epochs * rates.pretrain * speech + machine.run
    yield line("pretrain", [pretrained] * len(SPEECH))
    frozen = transfer.frozen.epochs * rates.frozen * music
    finetune = transfer.finetune.epochs * rates.finetune * music
    tested = 2 * rates.predict * music  # validation and test, of both modes
    # Trained anew with the validation part; a control, which nothing is chosen by, only so.
    again = 1 / (1 - params.split.music_validation) if transfer.refit else 0.0
    trained = (1 + again) * (frozen + finetune * ("full" in transfer.modes))
    repeat = folds * (trained + tested) + 2 * machine.run
    cells = len(PAIRINGS)
    tasks = [repeat] * (cells * transfer.repeats)
    cell = line("transfer", tasks, len(tasks) * len(transfer.modes) * folds)
    coded = [rates.encode * music] * cells
    yield Line(cell.what, cell.trainings, cell.work + sum(coded), cell.wall + makespan(coded, side))
    tasks = [
        folds * (work + tested) + machine.run
        for name, work in {
            "random_encoder": rates.encode * music + frozen * (again or 1),
            "shuffled_labels": rates.encode * music + frozen * (again or 1),
            "scratch": params.controls.scratch_epochs * rates.finetune * music * (again or 1),
        }.items()
        if name in params.controls.names
        for _ in range(len(MUSIC) * transfer.repeats)
    ]
    others = [name for name in params.controls.names if name in BASELINES]
    yield line("controls", tasks + [2 * machine.run] * (len(MUSIC) * len(others)))
    around = STAGES * DVC_SECONDS + HEAVY * machine.start + COMPARED * machine.compared
    yield Line("around: stages, statistics, report", 0, around, around)


def makespan(tasks: Sequence[float], side: int) -> float:
    """How long tasks take on `side` processes, each begun when one is free, in this order."""
    free = [0.0] * side
    for task in tasks:
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)


def _folds(params: Params) -> int:
    return params.split.folds if params.split.scheme == "grouped_folds" else 1


def _hours(params: Params) -> tuple[float, float]:
    """Hours of a speech and of a music role: what is asked for, else what the index has."""

    def hours(asked: float | None, role: str) -> float:
        path = INDEX / f"{role}.csv"
        if asked is None and not path.exists():
            raise UserError(
                f"{path}: balance asks for all there is, and nothing is indexed yet; run "
                "`recitative index`, or give balance.speech_hours and balance.music_hours"
            )
        return asked or sum(float(row["seconds"]) for row in read_csv(path)) / 3600

    balance = params.balance
    return hours(balance.speech_hours, "speech-eng"), hours(balance.music_hours, "music-eng")


def _shared(grid: Sequence[tuple[str, Params]], machine: Machine) -> float:
    """What is made once for all: features of the same hours, from DVC's cache the second time."""
    seen, spared = set(), 0.0
    for _, params in grid:
        key = (_hours(params), params.features)
        if key in seen:
            spared += next(line.wall for line in estimate(params, machine))
        seen.add(key)
    return spared


def _disk(grid: Sequence[tuple[str, Params]]) -> float:
    """Features of every amount once, weights, and what MLflow keeps of a run (about 0.2 MB)."""
    frames, total = {}, 0.0
    for _, params in grid:
        speech, music = _hours(params)
        features = params.features
        rate = 3600 * features.sample_rate / features.hop_length * 4 * features.n_mels
        frames[speech, music] = (3 * speech + len(MUSIC) * music) * rate
        kept = params.transfer.repeats * _folds(params)
        cells = len(PAIRINGS) * len(params.transfer.modes) + len(MUSIC) * len(NETWORKS)
        total += (cells + len(MUSIC)) * kept * WEIGHTS  # and the registered ones
        total += 0.2e6 * (cells * params.transfer.repeats + params.search.trials)
    return total + sum(frames.values())


def format_lines(name: str, lines: Sequence[Line]) -> str:
    """One experiment's lines as a table for the screen."""
    shown = [f"\n{name}", f"  {'':36} {'trainings':>9} {'one process':>12} {'clock':>10}"]
    total = Line(
        "all", *(sum(getattr(one, at) for one in lines) for at in ("trainings", "work", "wall"))
    )
    for one in (*lines, total):
        count = str(one.trainings) if one.trainings else ""
        shown.append(f"  {one.what:36} {count:>9} {clock(one.work):>12} {clock(one.wall):>10}")
    return "\n".join(shown)


def clock(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.4 h``, ``2.1 d``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} d"
