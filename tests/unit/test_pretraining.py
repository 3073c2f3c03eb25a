"""Which segments of speech a model sees together."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from recitative.features.shards import MappedFrames
from recitative.features.store import FeatureStore, write_store
from recitative.learning.config import FitConfig, PretrainConfig
from recitative.learning.pretraining import Speech, fit_config, prepare, speech_batches
from recitative.learning.training import fit
from recitative.models.config import CPCConfig, SCAEConfig

SPAN = 3 * 2 + 5 + 2 + 5  # frames of a CPC example: 4 past by hop 2, gap 1, 2 futures
CONFIG = PretrainConfig(epochs=2, batch_size=64, learning_rate=1e-3, arch="cpc", patience=3)


def test_scae_sees_every_segment_of_every_utterance(tmp_path: Path) -> None:
    store = tiny.store(tmp_path, {"a": 11, "short": 4, "b": 6})
    batches = speech_batches(store, ["b", "short", "a"], SCAEConfig(), tiny.FRAMES, tiny.HOP)
    assert batches.count == 1 + 0 + 4
    batch = batches.take(np.arange(5))
    assert batch["x"].shape == (5, 1, tiny.BANDS, tiny.FRAMES)
    assert batch["clip"].tolist() == [0, 2, 2, 2, 2]
    np.testing.assert_array_equal(batch["x"][0, 0].numpy(), store.frames_of("b")[:5].T)
    for i in range(4):
        expected = store.frames_of("a")[2 * i : 2 * i + 5].T
        np.testing.assert_array_equal(batch["x"][1 + i, 0].numpy(), expected)


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_a_cpc_example_is_cut_where_its_offsets_say(gap: int, tmp_path: Path) -> None:
    config = CPCConfig(gap=gap, stride=3)
    offsets = config.offsets(tiny.FRAMES, tiny.HOP)
    span = offsets[-1] + tiny.FRAMES
    store = tiny.store(tmp_path, {"a": span + 13, "short": span - 1, "b": span})
    batches = speech_batches(store, ["a", "short", "b"], config, tiny.FRAMES, tiny.HOP)
    assert batches.count == 3 + 0 + 1  # one each stride of 3 hops of 2 frames
    batch = batches.take(np.arange(4))
    assert batch["x"].shape == (4, 6, tiny.BANDS, tiny.FRAMES)
    assert batch["clip"].tolist() == [0, 0, 0, 2]
    for row, (clip, start) in enumerate([("a", 0), ("a", 6), ("a", 12), ("b", 0)]):
        for step, offset in enumerate(offsets):
            first = start + offset
            expected = store.frames_of(clip)[first : first + tiny.FRAMES].T
            np.testing.assert_array_equal(batch["x"][row, step].numpy(), expected)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), stride=st.integers(1, 4))
def test_no_example_crosses_into_another_utterance(
    lengths: list[int], stride: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clips = {f"{i}": frames for i, frames in enumerate(lengths)}
    store = tiny.store(tmp_path_factory.mktemp("store"), clips)
    # A frame holds the number of its clip.
    owner = np.repeat(np.arange(len(lengths)), lengths).astype(np.float32)
    marked = type(store)(
        store.folder, MappedFrames(np.repeat(owner[:, None], tiny.BANDS, 1)), store.spans
    )
    config = CPCConfig(stride=stride)
    batches = speech_batches(marked, list(clips), config, tiny.FRAMES, tiny.HOP)
    step = tiny.HOP * stride
    assert batches.count == sum(max(0, 1 + (n - SPAN) // step) for n in lengths)
    if batches.count:
        batch = batches.take(np.arange(batches.count))
        assert (batch["x"] == batch["clip"][:, None, None, None]).all()


def test_the_batch_is_counted_in_segments() -> None:
    six = fit_config(CONFIG, 6)
    assert type(six) is FitConfig
    assert six.model_dump() == CONFIG.model_dump(exclude={"arch"}) | {"batch_size": 10}
    assert fit_config(CONFIG, 1).batch_size == 64
    assert fit_config(CONFIG, 40).batch_size == 2  # CPC contrasts one with another


@pytest.mark.parametrize("arch", ["scae", "cpc"])
def test_one_file_of_frames_or_many_train_to_the_same_bytes(arch: str, tmp_path: Path) -> None:
    lengths = {f"clip{n}": 40 + 7 * n for n in range(8)}
    rng = np.random.default_rng(0)
    clips = [
        (i, rng.standard_normal((n, tiny.BANDS)).astype(np.float32)) for i, n in lengths.items()
    ]
    states = []
    for most in (sys.maxsize, 150):
        write_store(tmp_path / str(most), clips, shard_frames=most)
        store = FeatureStore.open(tmp_path / str(most))
        parts = {"train": [*lengths][:6], "validation": [*lengths][6:]}
        config = CONFIG.model_copy(update={"arch": arch, "batch_size": 24})
        made = prepare(
            Speech(store, parts, tiny.FRAMES, tiny.HOP), config, tiny.ENCODER, tiny.CONFIGS[arch], 0
        )
        history = list(fit(made.model, made.train, made.validation, made.config, tiny.CPU, 0))
        files = len([*store.folder.glob("*.npy")])
        states.append((files, tiny.state(made.model), [epoch.row() for epoch in history]))
    (one, first, rows), (many, second, again) = states
    assert (one, many) == (1, 5)
    assert rows == again
    assert not tiny.differing(first, second)
