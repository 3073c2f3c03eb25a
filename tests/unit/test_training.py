"""The loop: which epoch is kept, how the rate decays, and that a killed training loses nothing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tiny
from recitative.errors import UserError
from recitative.learning import checkpoint as checkpoint_module
from recitative.learning.checkpoint import Checkpoint, adam_tensors, restore_adam
from recitative.learning.compute import Compute
from recitative.learning.config import ComputeConfig, FitConfig, PretrainConfig
from recitative.learning.pretraining import Speech, prepare
from recitative.learning.training import Batches, Epoch, fit, validate
from recitative.models import encoder_of
from recitative.models.classifier import TASKS, EmotionClassifier
from recitative.models.config import ClassifierConfig
from recitative.models.storage import save_weights


def config(**values: Any) -> FitConfig:
    return FitConfig.model_validate(
        {"epochs": 6, "batch_size": 4, "learning_rate": 0.5, "min_improvement": 0.0} | values
    )


def numbers(count: int) -> Batches:
    """Examples that are their own row number."""
    return Batches(count, lambda rows: {"row": torch.from_numpy(rows)})


class Walker(nn.Module):
    """A weight that Adam moves up by the learning rate at each update; best at `target`."""

    def __init__(self, target: float = 0.0):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.target = target

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": -self.w if self.training else (self.w - self.target).square()}


class Scripted(nn.Module):
    """A model whose validation losses are given, epoch by epoch."""

    def __init__(self, validation: Sequence[float]):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.script = iter(validation)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self.w * 0 if self.training else torch.tensor(next(self.script)).double()}


def train(model: nn.Module, settings: FitConfig, **given: Any) -> list[Epoch]:
    return list(fit(model, numbers(4), numbers(1), settings, tiny.CPU, seed=1, **given))


# Which weights stay.


@pytest.mark.parametrize(("keep", "weight"), [("best", 1.5), ("last", 3.0)])
def test_the_kept_epochs_weights_are_loaded_in_the_end(keep: str, weight: float) -> None:
    model = Walker(target=1.5)
    epochs = train(model, config(keep=keep))
    assert [round(e.validation["loss"], 3) for e in epochs] == [1, 0.25, 0, 0.25, 1, 2.25]
    assert [e.best for e in epochs] == [True, True, True, False, False, False]
    assert model.w.item() == pytest.approx(weight, abs=1e-4)
    assert not model.training
    # The kept weights score what their epoch said.
    scored = validate(model, numbers(1), 4, tiny.CPU, 1)["loss"]
    kept = [e for e in epochs if e.best or keep == "last"][-1]
    assert scored == pytest.approx(kept.validation["loss"], abs=1e-9)


def test_buffers_go_back_to_the_best_epoch_too() -> None:
    class Counting(Walker):
        def __init__(self) -> None:
            super().__init__(target=1.0)
            self.register_buffer("steps", torch.zeros(()))

        def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            if self.training:
                self.get_buffer("steps").add_(1)
            return super().losses(batch)

    model = Counting()
    train(model, config())
    assert float(model.get_buffer("steps")) == 2


@pytest.mark.parametrize(
    ("script", "patience", "share", "epochs"),
    [
        ([3, 2, 1, 2, 3, 1, 1], 2, 0.0, 5),
        ([3, 2, 1, 2, 0.5, 1, 1, 1], 2, 0.0, 7),
        ([1, 0.9995, 0.9990, 0.9985, 0.9980], 2, 0.001, 3),  # creeping is no improvement
        ([1, 0.9995, 0.9990, 0.9985, 0.9980], 2, 0.0, 5),
        ([1, 2, 3, 4, 5], 0, 0.0, 5),  # 0 never stops
        ([1, 2, 3, 4, 5], 1, 0.0, 2),
    ],
)
def test_early_stopping(script: list[float], patience: int, share: float, epochs: int) -> None:
    settings = config(epochs=len(script), patience=patience, min_improvement=share)
    history = train(Scripted(script), settings)
    assert [e.validation["loss"] for e in history] == pytest.approx(script[:epochs])
    lowest = np.minimum.accumulate([math.inf, *script])[:-1]
    expected = [bool(a < b) for a, b in zip(script, lowest, strict=True)]
    assert [e.best for e in history] == expected[:epochs]


# The rate.


@pytest.mark.parametrize("per", ["update", "epoch"])
def test_the_rate_decays_by_keras_rule(per: str) -> None:
    model, decay, rate = Walker(), 0.1, 0.5
    batches = numbers(10)  # batches of 4, 4 and 2: three updates an epoch
    settings = config(epochs=3, decay=decay, decay_per=per, learning_rate=rate, keep="last")
    history = list(fit(model, batches, numbers(1), settings, tiny.CPU, 1))
    n = np.arange(9) if per == "update" else np.repeat(np.arange(3), 3)
    rates = rate / (1 + decay * n)
    assert [e.learning_rate for e in history] == list(rates[2::3])
    # Adam on a constant gradient moves by the rate itself.
    assert model.w.item() == pytest.approx(rates.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [
        ("constant", lambda done: np.ones_like(done)),
        ("linear", lambda done: 1 - done),
        ("cosine", lambda done: (1 + np.cos(np.pi * done)) / 2),
    ],
)
def test_a_schedule_goes_from_the_rate_to_0_over_all_updates(schedule: str, shape: Any) -> None:
    model, rate = Walker(), 0.5
    settings = config(epochs=4, schedule=schedule, learning_rate=rate, keep="last")
    history = list(fit(model, numbers(13), numbers(1), settings, tiny.CPU, 1))
    # Batches of 4, 4 and 5, since one example alone joins the batch before it: 12 updates.
    rates = rate * shape(np.arange(12) / 12)
    assert [e.learning_rate for e in history] == pytest.approx(list(rates[2::3]))
    assert model.w.item() == pytest.approx(rates.sum(), rel=1e-5)


def test_without_a_validation_part_all_epochs_are_trained_and_the_last_one_stays() -> None:
    model = Walker()
    settings = config(epochs=5, patience=1, keep="best")
    history = list(fit(model, numbers(4), None, settings, tiny.CPU, 1))
    assert model.w.item() == pytest.approx(2.5, abs=1e-4)
    assert not model.training
    assert [(e.validation, e.best) for e in history] == [({}, False)] * 5
    assert "validation_loss" not in history[0].row()


# What is seen.


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 60), st.integers(1, 12), st.booleans())
def test_an_epoch_drops_nothing(count: int, size: int, mixed: bool) -> None:
    rng = np.random.default_rng(0) if mixed else None
    batches = [batch["row"].numpy() for batch in numbers(count).epoch(size, rng)]
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert all(len(batch) <= size for batch in batches[:-1])
    assert len(batches[-1]) <= size + 1
    if mixed and size > 1:
        assert count == 1 or all(len(batch) > 1 for batch in batches)  # batch norm needs two
    if not mixed:
        assert list(np.concatenate(batches)) == list(range(count))


def test_the_order_changes_from_epoch_to_epoch_and_is_the_same_in_validation() -> None:
    seen: list[tuple[bool, tuple[int, ...]]] = []

    class Watching(Walker):
        def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            seen.append((self.training, tuple(batch["row"].tolist())))
            return super().losses(batch)

    list(fit(Watching(), numbers(12), numbers(9), config(epochs=3), tiny.CPU, 1))
    training = [rows for is_training, rows in seen if is_training]
    validation = [rows for is_training, rows in seen if not is_training]
    assert len(set(training)) == 9
    assert validation[:2] == validation[2:4] == validation[4:]
    assert sorted(sum(validation[:2], ())) == list(range(9))


def test_validation_mixes_clips() -> None:
    # In the store's order a batch holds one utterance, and CPC has no other to contrast it with.
    clips = np.repeat(np.arange(12), 12)
    held: list[int] = []

    class Watching(Walker):
        def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            largest = int(torch.bincount(batch["clip"]).max())
            held.append(largest)
            return super().losses(batch)

    batches = Batches(len(clips), lambda rows: {"clip": torch.from_numpy(clips[rows])})
    validate(Watching(), batches, 12, tiny.CPU, 1)
    assert max(held) <= 6


def test_metrics_are_means_over_examples_not_over_batches() -> None:
    class Mean(Walker):
        def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            mean = batch["row"].double().mean()
            return {"loss": mean + 0 * self.w, "twice": 2 * mean}

    epoch = next(fit(Mean(), numbers(11), numbers(7), config(batch_size=3), tiny.CPU, 1))
    assert epoch.train == pytest.approx({"loss": 5, "twice": 10})
    assert epoch.validation == pytest.approx({"loss": 3, "twice": 6})
    flat = epoch.metrics()
    assert flat["train_twice"] == pytest.approx(10)
    assert flat["validation_loss"] == pytest.approx(3)
    row = epoch.row()
    assert "epoch_seconds" not in row  # a repeat writes the same bytes
    assert (row["epoch"], row["best"]) == (0, 1)


# Kill and resume, for each kind of training.


def pretraining(arch: str) -> tuple[nn.Module, Batches, Batches]:
    data = tiny.example_batch(arch, 22, seed=3, clips=11)

    def part(first: int, count: int) -> Batches:
        return Batches(
            count,
            lambda rows: {name: x[first + torch.from_numpy(rows)] for name, x in data.items()},
        )

    return tiny.pretraining_model(arch, seed=7), part(0, 16), part(16, 6)


def classifier() -> tuple[nn.Module, Batches, Batches]:
    torch.manual_seed(7)
    sizes = ClassifierConfig(trunk=(8, 8), block=(8,), dropout=0.25)
    model = EmotionClassifier(encoder_of(tiny.pretraining_model("scae", 7)), "flatten", sizes)
    x = torch.randn(22, 1, tiny.BANDS, tiny.FRAMES)

    def part(first: int, count: int) -> Batches:
        def take(rows: np.ndarray) -> dict[str, Tensor]:
            chosen = first + torch.from_numpy(rows)
            return {"x": x[chosen]} | {task: chosen % k for task, k in TASKS.items()}

        return Batches(count, take)

    return model, part(0, 16), part(16, 6)


def kind_of(kind: str) -> tuple[nn.Module, Batches, Batches]:
    return classifier() if kind == "classifier" else pretraining(kind)


KINDS = ["scae", "cpc", "classifier"]
LEARN = config(epochs=5, batch_size=5, learning_rate=0.01, decay=0.01, patience=3)


def rows(epochs: Iterator[Epoch] | Sequence[Epoch]) -> list[dict[str, float | int]]:
    return [epoch.row() for epoch in epochs]


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_ends_as_if_it_had_never_been(
    kind: str, keep: str, tmp_path: Path
) -> None:
    schedule = "cosine" if keep == "last" else "constant"
    settings = LEARN.model_copy(update={"keep": keep, "schedule": schedule})
    model, *parts = kind_of(kind)
    history = rows(fit(model, *parts, settings, tiny.CPU, 11))
    assert len(history) >= 3
    for killed_after in (1, 2):
        checkpoint = Checkpoint(tmp_path / f"{killed_after}.safetensors")
        killed, *parts = kind_of(kind)
        epochs = fit(killed, *parts, settings, tiny.CPU, 11, checkpoint)
        assert rows(list(islice(epochs, killed_after))) == history[:killed_after]
        epochs.close()  # type: ignore[attr-defined]

        torch.manual_seed(12345)  # another process: nothing is left but the file
        resumed, *parts = kind_of(kind)
        with torch.no_grad():
            for parameter in resumed.parameters():
                parameter.add_(1)
        again = fit(
            resumed, *parts, settings, tiny.CPU, 11, Checkpoint(checkpoint.path, seconds=1e9)
        )
        assert rows(again) == history
        assert not tiny.differing(tiny.state(model), tiny.state(resumed))


def test_a_kill_between_checkpoints_goes_back_to_the_last_one(tmp_path: Path) -> None:
    model, *parts = kind_of("scae")
    history = rows(fit(model, *parts, LEARN, tiny.CPU, 11))
    killed, *parts = kind_of("scae")
    rare = Checkpoint(tmp_path / "c.safetensors", seconds=1e9)  # saves the first epoch only
    epochs = fit(killed, *parts, LEARN, tiny.CPU, 11, rare)
    list(islice(epochs, 3))
    loaded = rare.load()
    assert loaded is not None
    assert len(loaded[1]["history"]) == 1
    resumed, *parts = kind_of("scae")
    assert rows(fit(resumed, *parts, LEARN, tiny.CPU, 11, rare)) == history
    assert not tiny.differing(tiny.state(model), tiny.state(resumed))


def test_a_training_that_had_stopped_early_is_not_trained_further(tmp_path: Path) -> None:
    settings = config(epochs=9, patience=1)
    checkpoint = Checkpoint(tmp_path / "c.safetensors")
    epochs = fit(Walker(1.0), numbers(4), numbers(1), settings, tiny.CPU, 1, checkpoint)
    history = rows(list(islice(epochs, 3)))  # the third is worse: the loop would stop now
    model = Walker(1.0)
    resumed = fit(model, numbers(4), numbers(1), settings, tiny.CPU, 1, checkpoint)
    assert rows(resumed) == history
    assert model.w.item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    kind: str, tmp_path: Path
) -> None:
    written = []
    for seed in (11, 11, 12):
        model, *parts = kind_of(kind)
        list(fit(model, *parts, LEARN, tiny.CPU, seed))
        save_weights(tmp_path / "w.safetensors", model)
        written.append((tmp_path / "w.safetensors").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_the_global_generator_does_not_matter(kind: str) -> None:
    states = []
    for noise in (1, 2):
        model, *parts = kind_of(kind)
        torch.manual_seed(noise)
        epochs = fit(model, *parts, LEARN, tiny.CPU, 11)
        for _ in islice(epochs, 2):
            torch.rand(noise)  # whoever logs the epochs may draw as well
        states.append(tiny.state(model))
    assert not tiny.differing(*states)


def test_adams_moments_come_back_in_the_memory_order_of_their_parameters() -> None:
    # Fused Adam reads all of them in memory order: a contiguous moment of a channels-last weight
    # would move other weights than its own.
    def fresh() -> tuple[nn.Conv2d, torch.optim.Adam]:
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        return layer, torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)

    def step(layer: nn.Conv2d, optimizer: torch.optim.Adam) -> None:
        optimizer.zero_grad()
        layer(torch.ones(1, 4, 6, 6)).square().mean().backward()
        optimizer.step()

    layer, optimizer = fresh()
    step(layer, optimizer)
    moments = {name: x.clone().contiguous() for name, x in adam_tensors(optimizer).items()}
    resumed, other = fresh()
    resumed.load_state_dict(layer.state_dict())
    restore_adam(other, moments)
    step(layer, optimizer)
    step(resumed, other)
    assert torch.equal(layer.weight, resumed.weight)


# The checkpoint file.


def test_a_checkpoint_is_whole_or_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "c.safetensors", seconds=1e9)
    assert checkpoint.load() is None
    assert checkpoint.due()
    checkpoint.save({"model": {"a.b": torch.arange(3)}, "none": {}}, {"lowest": 0.1 + 0.2})
    assert not checkpoint.due()

    def dying(tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "save_file", dying)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save({"model": {"a.b": torch.zeros(3)}}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    loaded = checkpoint.load()
    assert loaded is not None
    assert torch.equal(loaded[0]["model"]["a.b"], torch.arange(3))
    assert loaded[1] == {"lowest": 0.1 + 0.2}  # to the last bit
    checkpoint.remove()
    checkpoint.remove()
    assert not checkpoint.path.exists()


# Bad input.


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_loss_that_is_not_finite_is_one_clear_line(part: str) -> None:
    class Diverging(Walker):
        def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            bad = self.training == (part == "training")
            return {"loss": self.w * 0 + (math.nan if bad else 1.0)}

    epochs = fit(Diverging(), numbers(4), numbers(1), config(), tiny.CPU, 1)
    line = rf"the {part} loss is nan after epoch 0: lower the learning rate \(0\.5\)"
    with pytest.raises(UserError, match=line):
        list(epochs)


@pytest.mark.parametrize(("training", "validation"), [(1, 5), (0, 5), (5, 0)])
def test_too_few_examples_are_one_clear_line(training: int, validation: int) -> None:
    epochs = fit(Walker(), numbers(training), numbers(validation), config(), tiny.CPU, 1)
    with pytest.raises(UserError, match="too few to train"):
        list(epochs)


# Device and precision.


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_trains_on_a_cpu(kind: str) -> None:
    if not torch.amp.is_autocast_available("cpu"):
        pytest.skip("torch has no autocast on this CPU")
    histories = []
    for compute in (tiny.CPU, replace(tiny.CPU, bf16=True)):
        model, *parts = kind_of(kind)
        histories.append(list(fit(model, *parts, LEARN, compute, 11)))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    losses = [[epoch.validation["loss"] for epoch in history[:2]] for history in histories]
    assert losses[0] != losses[1], "bfloat16 was not used"
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


def test_what_is_written_out_is_what_is_used() -> None:
    decided = Compute.decide(ComputeConfig(device="cpu", precision="float32"))
    assert (decided.device.type, decided.bf16, str(decided)) == ("cpu", False, "cpu float32")
    assert Compute.decide(ComputeConfig(device="cpu", precision="bf16")).bf16


def test_cuda_where_there_is_none_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"compute\.device: 'cuda'.*use 'auto'"):
        Compute.decide(ComputeConfig(device="cuda"))
    assert Compute.decide(ComputeConfig(precision="float32")).device.type == "cpu"


@pytest.mark.parametrize("arch", ["scae", pytest.param("cpc", marks=pytest.mark.slow)])
def test_a_compiled_step_learns_the_same(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced by TorchDynamo and run as it is: what a compiler is given is the step itself."""
    asked: list[Any] = []
    compile_ = torch.compile

    def traced(step: Any) -> Any:
        asked.append(step)
        return compile_(step, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    opened = tiny.store(tmp_path, {f"clip/{n}": 40 for n in range(6)})
    speech = Speech(
        opened,
        {"train": opened.clip_ids[:4], "validation": opened.clip_ids[4:]},
        tiny.FRAMES,
        tiny.HOP,
    )
    losses = []
    for compiled in (False, True):
        pretrain = PretrainConfig(arch=arch, epochs=2, batch_size=8, learning_rate=1e-3)
        made = prepare(speech, pretrain, tiny.ENCODER, tiny.CONFIGS[arch], 0)
        compute = replace(tiny.CPU, compiled=compiled)
        epochs = fit(made.model, made.train, made.validation, made.config, compute, 0)
        losses.append([epoch.validation["loss"] for epoch in epochs])
    assert len(asked) == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_cpu_does_not_compile() -> None:
    assert not Compute.decide(ComputeConfig(device="cpu", compile=True)).compiled
