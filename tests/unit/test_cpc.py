"""CPC: the context knows nothing of the future, and each rule of negatives is what C4 says."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from recitative.models.config import CPCConfig
from recitative.models.cpc import CPC


def model_with(**values: Any) -> CPC:
    torch.manual_seed(0)
    config = CPCConfig(projection=8, context=8).model_copy(update=values)
    return CPC(tiny.ENCODER, config, tiny.BANDS, tiny.FRAMES)


# Where the segments lie.


@pytest.mark.parametrize(("gap", "shared"), [(0, 16), (1, 0), (2, 0)])
def test_the_gap_decides_what_past_and_future_share(gap: int, shared: int) -> None:
    offsets = CPCConfig(gap=gap).offsets(31, 15)
    last_past, first_future = (set(range(o, o + 31)) for o in (offsets[3], offsets[4]))
    assert len(last_past & first_future) == shared
    assert offsets[:4] == [0, 15, 30, 45]
    assert offsets[5] - offsets[4] == 15


def test_the_offsets_of_the_release_and_ours() -> None:
    assert CPCConfig(gap=0).offsets(31, 15) == [0, 15, 30, 45, 60, 75]
    assert CPCConfig(gap=1).offsets(31, 15) == [0, 15, 30, 45, 76, 91]
    assert CPCConfig(gap=2).offsets(31, 15) == [0, 15, 30, 45, 91, 106]
    assert CPCConfig(past=2, future=4, gap=1).offsets(31, 15) == [0, 15, 46, 61, 76, 91]


# The context.


def contexts(model: CPC, x: Tensor) -> Tensor:
    """What the predictors start from while the loss of `x` is computed."""
    seen: list[Tensor] = []
    first = model.predictors[0]
    handle = first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model.losses({"x": x, "clip": torch.arange(len(x))})
    handle.remove()
    assert torch.equal(seen[0], seen[-1])
    return seen[0]


@pytest.mark.parametrize("negatives", ["released", "derangement", "cross_utterance"])
def test_the_context_is_causal(negatives: str) -> None:
    model = model_with(negatives=negatives).eval()
    x = tiny.example_batch("cpc", 4)["x"]
    context = contexts(model, x)
    for step in range(6):
        changed = x.clone()
        changed[:, step] = torch.randn_like(changed[:, step])
        same = torch.equal(contexts(model, changed), context)
        assert same == (step >= 4), f"segment {step}"


# The negatives. Futures are numbered, so that each can be recognised: row * 10 + step.


def numbered(rows: int, steps: int) -> Tensor:
    number = torch.arange(rows)[:, None] * 10 + torch.arange(steps)
    return number[:, :, None].expand(rows, steps, 3).float()


@pytest.mark.parametrize(("steps", "share"), [(2, 1 / 2), (3, 1 / 6)])
def test_released_negatives_are_half_unchanged(steps: int, share: float) -> None:
    torch.manual_seed(0)
    future = numbered(20_000, steps)
    shown, usable = model_with(negatives="released").negatives(future, torch.arange(20_000))
    assert usable.all()
    unchanged = (shown == future).flatten(1).all(1).float().mean()
    assert float(unchanged) == pytest.approx(share, abs=0.015)  # C4: 0.499 of two futures
    assert torch.equal(shown.sort(1).values, future)  # nothing but a new order


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_derangement_leaves_no_future_in_its_place(steps: int) -> None:
    torch.manual_seed(0)
    future = numbered(500, steps)
    shown, usable = model_with(negatives="derangement").negatives(future, torch.arange(500))
    assert usable.all()
    assert not (shown == future).any()
    assert torch.equal(shown.sort(1).values, future)


def test_one_future_has_no_derangement() -> None:
    model = model_with(negatives="derangement", future=1)
    _, usable = model.negatives(numbered(5, 1), torch.arange(5))
    assert not usable.any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=24))
def test_cross_utterance_negatives_come_from_another_clip(clips: list[int]) -> None:
    clip = torch.tensor(clips)
    future = numbered(len(clips), 2)
    shown, usable = model_with(negatives="cross_utterance").negatives(future, clip)
    rows = (shown[:, 0, 0] // 10).long()
    assert torch.equal(shown, future[rows])  # both steps of one sequence, in their order
    assert torch.equal(usable, clip[rows] != clip)
    largest = int(np.bincount(clips).max())
    if 2 * largest <= len(clips):
        assert usable.all()
        assert sorted(rows.tolist()) == list(range(len(clips)))  # each is shown once
    if largest == len(clips):
        assert not usable.any()


# The loss.


@pytest.mark.parametrize("negatives", ["released", "derangement", "cross_utterance"])
def test_a_predictor_that_says_nothing_loses_ln_two(negatives: str) -> None:
    model = model_with(negatives=negatives).eval()
    with torch.no_grad():
        for parameter in model.predictors.parameters():
            parameter.zero_()
    losses = model.losses(tiny.example_batch("cpc", 6))
    assert float(losses["loss"].detach()) == pytest.approx(math.log(2), abs=1e-6)
    assert float(losses["accuracy"]) == 0.5


@pytest.mark.parametrize("clips", [[0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 1, 2], [0, 0, 1, 1, 2, 2]])
@pytest.mark.parametrize("logit", [-3.0, 0.7, 5.0])
def test_the_labels_prior_is_one_half_whatever_is_masked(
    clips: list[int], logit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_with(negatives="cross_utterance").eval()
    monkeypatch.setattr(model, "forward", lambda past, future: torch.full((len(past),), logit))
    losses = model.losses({**tiny.example_batch("cpc", 6), "clip": torch.tensor(clips)})
    yes, no = math.log1p(math.exp(-logit)), math.log1p(math.exp(logit))
    assert float(losses["loss"]) == pytest.approx((yes + no) / 2, rel=1e-6)
    assert float(losses["accuracy"]) == 0.5


def test_rows_without_a_negative_take_no_part() -> None:
    model = model_with(negatives="cross_utterance").eval()
    batch = {**tiny.example_batch("cpc", 6), "clip": torch.tensor([0, 0, 0, 0, 1, 2])}
    _, usable = model.negatives(model.encode(batch["x"])[:, 4:], batch["clip"])
    assert 0 < int(usable.sum()) < 6
    before = model.losses(batch)
    # The past of a row is seen by nobody else.
    batch["x"] = batch["x"].clone()
    batch["x"][~usable, :4] += 1
    after = model.losses(batch)
    assert torch.equal(before["loss"], after["loss"])
    assert torch.equal(before["accuracy"], after["accuracy"])


def test_the_logit_is_the_mean_product_of_predicted_and_shown() -> None:
    model = model_with().eval()
    past, future = torch.randn(3, 4, 8), torch.randn(3, 2, 8)
    context = model.context(past)
    expected = sum(
        (model.predictors[step](context) * future[:, step]).sum(1) for step in range(2)
    ) / (2 * 8)
    torch.testing.assert_close(model(past, future), expected)


def test_swapped_futures_differ_from_consecutive_ones() -> None:
    # Each step has a predictor of its own; a shared one could not tell the order.
    model = model_with().eval()
    past, future = torch.randn(3, 4, 8), torch.randn(3, 2, 8)
    assert not torch.allclose(model(past, future), model(past, future.flip(1)))
