"""Seeds: every cell has a stream of its own, the same on every machine and in every version."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recitative.seeding import derive_rng, derive_seed, seed_everything

LABEL = st.one_of(st.integers(0, 10**6), st.text("abcdefgh_0123", min_size=1, max_size=8))
LABELS = st.lists(LABEL, max_size=5)


@pytest.mark.parametrize(
    ("labels", "seed"),
    [
        ((), 1005728169028540560),
        (("transfer", "scae", "eng2man", "full", 0), 1777084018299199772),
        (("transfer", "scae", "eng2man", "full", 1), 1640460120271348055),
        (("pretrain", "cpc", "mix"), 2613246842089408858),
    ],
)
def test_a_stream_is_the_same_for_ever(labels: tuple[str | int, ...], seed: int) -> None:
    # If these change, nobody can repeat what was published with them.
    assert derive_seed(2021, *labels) == seed


@given(st.integers(-(2**40), 2**40), LABELS)
def test_a_seed_fits_torch_and_numpy(root: int, labels: list[str | int]) -> None:
    seed = derive_seed(root, *labels)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(root, *labels)
    torch.Generator().manual_seed(seed)
    np.random.default_rng(seed)


@given(st.integers(0, 10**6), LABELS, LABELS)
def test_other_labels_are_another_stream(
    root: int, first: list[str | int], second: list[str | int]
) -> None:
    same = [str(label) for label in first] == [str(label) for label in second]
    assert (derive_seed(root, *first) == derive_seed(root, *second)) == same


def test_the_root_and_the_border_between_labels_matter() -> None:
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc")
    assert derive_seed(1, "x") != derive_seed(2, "x")
    assert derive_seed(1, 2, 3) != derive_seed(12, 3)


def test_neighbouring_streams_are_unrelated() -> None:
    drawn = np.array([derive_rng(2021, "transfer", i).standard_normal(500) for i in range(40)])
    correlation = np.corrcoef(drawn) - np.eye(40)
    assert np.abs(correlation).max() < 5 / np.sqrt(500)
    # The bits of consecutive labels' seeds are evenly set.
    bits = [[derive_seed(1, i) >> b & 1 for b in range(63)] for i in range(2000)]
    assert np.abs(np.mean(bits, 0) - 0.5).max() < 0.06


def test_everything_is_seeded_but_numpys_legacy_generator() -> None:
    np.random.seed(0)  # noqa: NPY002  (it must be left alone)
    untouched = np.random.get_state()[1].tolist()  # noqa: NPY002
    drawn = []
    for _ in range(2):
        seed_everything(derive_seed(2021, "weights"))
        drawn.append((random.random(), torch.rand(3).tolist()))
    assert drawn[0] == drawn[1]
    assert np.random.get_state()[1].tolist() == untouched  # noqa: NPY002
