"""What the listeners' answers teach, and that the test truth never moves."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from recitative.errors import UserError
from recitative.learning.labels import Opinion, reliable_part, training_labels
from recitative.learning.segments import LabelledSegments, task_targets
from recitative.models.classifier import TASKS, multitask_losses

# Four clips of two segments, annotated Q1 to Q4.
SEGMENTS = LabelledSegments(
    store=SimpleNamespace(),  # never read here
    frames=31,
    clips=["a", "b", "c", "d"],
    groups=["a", "b", "c", "d"],
    clip_quadrant=np.arange(4),
    start=np.arange(8),
    clip=np.repeat(np.arange(4), 2),
)
OPINIONS = {
    "a": Opinion(np.array([0.2, 0.8, 0.0, 0.0]), 0.8),  # the listeners disagree with the annotation
    "b": Opinion(np.array([0.5, 0.5, 0.0, 0.0]), 0.5),  # a tie that holds the annotated one
    "c": Opinion(np.array([0.0, 0.0, 1.0, 0.0]), 0.6),
}


def test_majority_takes_the_most_chosen_and_keeps_the_annotation_in_a_tie_or_without_ratings():
    taught = training_labels(SEGMENTS, OPINIONS, "majority")
    assert taught.clip_quadrant.tolist() == [1, 1, 2, 3]
    assert SEGMENTS.clip_quadrant.tolist() == [0, 1, 2, 3], "the truth itself was changed"


def test_soft_targets_are_the_listeners_shares_and_sum_to_one():
    targets = training_labels(SEGMENTS, OPINIONS, "soft").targets(np.array([0, 2, 7]))
    np.testing.assert_allclose(
        targets["quadrant"], [[0.2, 0.8, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1]], rtol=1e-6
    )
    np.testing.assert_allclose(targets["arousal"][:, 1], [1, 1, 0], rtol=1e-6)  # A+ = Q1, Q2
    np.testing.assert_allclose(targets["valence"][:, 1], [0.2, 0.5, 1], rtol=1e-6)  # V+ = Q1, Q4
    for target in targets.values():
        np.testing.assert_allclose(target.sum(1), 1, rtol=1e-6)


def test_soft_targets_of_unanimous_listeners_give_the_loss_of_hard_ones():
    hard = task_targets(SEGMENTS.quadrant)
    certain = {
        clip: Opinion(np.eye(4)[code], 1.0)
        for clip, code in zip("abcd", SEGMENTS.clip_quadrant, strict=True)
    }
    soft = training_labels(SEGMENTS, certain, "soft").targets(np.arange(8))
    logits = {task: torch.randn(8, k, generator=torch.manual_seed(1)) for task, k in TASKS.items()}
    even = {task: torch.ones(k) for task, k in TASKS.items()}
    as_tensors = [{k: torch.from_numpy(v) for k, v in t.items()} for t in (hard, soft)]
    losses = [multitask_losses(logits, targets, even)["loss"] for targets in as_tensors]
    torch.testing.assert_close(losses[0], losses[1])
    expected = sum(cross_entropy(logits[t], as_tensors[0][t]) for t in TASKS)
    torch.testing.assert_close(losses[0], expected)


def test_reliable_keeps_clips_at_the_threshold_and_unrated_ones():
    everything = np.arange(8)
    three_classes = replace(SEGMENTS, clip_quadrant=np.array([1, 1, 2, 3]))
    kept = reliable_part(three_classes, everything, OPINIONS, 0.6)
    assert {three_classes.clips[c] for c in three_classes.clip[kept]} == {"a", "c", "d"}


def test_reliable_refuses_to_lose_a_class():
    with pytest.raises(UserError, match=r"transfer\.reliable_agreement: 0\.9 leaves no .* Q1"):
        reliable_part(SEGMENTS, np.arange(8), OPINIONS, 0.9)


def test_shuffling_moves_shares_with_their_clips():
    taught = training_labels(SEGMENTS, OPINIONS, "soft")
    moved = taught.shuffled([np.arange(8)], np.random.default_rng(3))
    assert moved.clip_quadrant.tolist() != taught.clip_quadrant.tolist()
    order = [taught.shares.tolist().index(row) for row in moved.shares.tolist()]
    assert sorted(order) == [0, 1, 2, 3]
