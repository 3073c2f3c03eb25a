"""A random encoder is normalised by the training segments, and by nothing else."""

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from recitative.features.shards import MappedFrames
from recitative.learning.transfer import calibrate
from recitative.models import encoder_of


@pytest.fixture
def segments(tmp_path):
    return tiny.music(tmp_path, [0, 1, 2, 3] * 3)


def test_statistics_are_those_of_the_training_segments(segments):
    encoder = encoder_of(tiny.pretraining_model("scae"))
    before, part = tiny.state(encoder), np.arange(20)
    calibrate(encoder, segments, part, tiny.CPU)
    first = encoder.conv[:2](encoder.standardize(segments.x(part)))  # convolution and ReLU
    norm = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
    torch.testing.assert_close(norm.running_mean, first.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, first.var((0, 2, 3)))
    moved = tiny.differing(before, encoder.state_dict())
    assert moved
    assert all("running" in name or "num_batches" in name for name in moved), "weights moved"


def test_the_test_part_is_not_looked_at(segments):
    train, test = np.arange(20), np.arange(40, 60)
    encoders = []
    for poisoned in (False, True):
        encoder = encoder_of(tiny.pretraining_model("scae"))
        if poisoned:
            frames = np.array(segments.store.frames.array)
            frames[segments.start[test[0]] :] = np.nan
            object.__setattr__(segments.store, "frames", MappedFrames(frames))
        calibrate(encoder, segments, train, tiny.CPU)
        encoders.append(tiny.state(encoder))
    assert not tiny.differing(*encoders)


def test_the_codes_come_out_normalised(segments):
    encoder = encoder_of(tiny.pretraining_model("scae"))
    part = np.arange(30)
    calibrate(encoder, segments, part, tiny.CPU)
    last = [m for m in encoder.conv.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    seen = []
    last.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.no_grad():
        encoder(segments.x(part))
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.zeros(8), atol=0.2, rtol=0)
    torch.testing.assert_close(seen[0].std((0, 2, 3)), torch.ones(8), atol=0.2, rtol=0)
    assert not encoder.training
    assert {m.momentum for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
