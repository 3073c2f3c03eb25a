"""Our dropout against torch's: the same distribution, gradient and evaluation."""

import pytest
import torch
from scipy.stats import binomtest, ks_2samp

from recitative.models.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_share_and_the_mean(share: float, layout: torch.memory_format) -> None:
    torch.manual_seed(1)
    layer = Dropout(share).train()
    x = torch.ones(8, 16, 32, 31).to(memory_format=layout)
    y = layer(x)
    assert y.is_contiguous(memory_format=layout)
    rounded = round(share * 256) / 256
    dropped = int((y == 0).sum())
    assert binomtest(dropped, y.numel(), rounded).pvalue > 1e-4
    assert torch.allclose(y[y > 0], torch.tensor(1 / (1 - rounded)))
    assert abs(float(y.mean()) - 1) < 0.05


def test_masks_are_independent_of_place_and_of_call() -> None:
    """Every eighth value comes from the same byte of a word: no byte may be special."""
    torch.manual_seed(2)
    layer, x = Dropout(0.25).train(), torch.ones(4096, 64)
    first, second = (layer(x) == 0 for _ in range(2))
    both = int((first & second).sum())
    assert binomtest(both, x.numel(), 1 / 16).pvalue > 1e-4
    for byte in range(8):
        dropped = first.flatten()[byte::8]
        assert binomtest(int(dropped.sum()), len(dropped), 0.25).pvalue > 1e-4
    neighbours = int((first[:, 1:] & first[:, :-1]).sum())
    assert binomtest(neighbours, first[:, 1:].numel(), 1 / 16).pvalue > 1e-4


def test_sums_are_distributed_as_those_of_torch() -> None:
    torch.manual_seed(3)
    x = torch.rand(2000, 100)
    ours = Dropout(0.25).train()(x).sum(1)
    theirs = torch.nn.Dropout(0.25).train()(x).sum(1)
    assert ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 1e-3


def test_gradients_pass_where_values_do_and_evaluation_changes_nothing() -> None:
    torch.manual_seed(4)
    layer, x = Dropout(0.5).train(), torch.randn(4, 8, 6, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    assert torch.allclose(x.grad[y != 0], torch.tensor(2.0))
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
    assert torch.equal(Dropout(0.001).train()(x), x)  # below 1/512 it rounds to none
    assert torch.isfinite(Dropout(0.9999).train()(x)).all()  # and never to all


def test_any_layout_and_type_and_the_same_seed_the_same_mask() -> None:
    layer = Dropout(0.25).train()
    x = torch.randn(6, 10, 7).transpose(0, 2)  # no layout of its own
    torch.manual_seed(5)
    first = layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    ratio = (first / x).flatten()
    assert torch.allclose(ratio[ratio > 0], torch.tensor(4 / 3))
    assert layer(x.bfloat16()).dtype == torch.bfloat16
