"""Logistic regression on whole songs, kept as a linear layer a task: `transfer.head: song`.

A song is the mean over its segments of what the heads read (the mean and deviation over time of
each feature of the code), standardised by the training songs. What is learned from songs is asked
of each segment: the mean of its segments' logits is the song's own.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from recitative.learning.segments import LabelledSegments
from recitative.models.classifier import TASKS, EmotionClassifier

INVERSE_PENALTY = 0.01  # scikit-learn's C; the numbers are many more than the songs
NEVER = -30.0  # logit of a class that no training song has


def fit_songs(
    model: EmotionClassifier, segments: LabelledSegments, part: np.ndarray, codes: np.ndarray,
    class_weights: Mapping[str, NDArray[np.float32]],
) -> None:  # fmt: skip
    """Set the heads of `model` to what the songs of `part` teach.

    `codes` are what the heads read of all N segments, (N, F); a song's label may be a distribution
    over classes, which counts as that many parts of a song.
    """
    order, counts = np.unique(segments.clip[part], return_counts=True)
    first = np.cumsum(counts) - counts
    songs = np.add.reduceat(codes[part].astype(np.float64), first) / counts[:, None]
    standardize = model.heads.standardize
    assert standardize is not None
    standardize.set(torch.from_numpy(songs.mean(0)), torch.from_numpy(songs.std(0)))
    x = standardize(torch.from_numpy(songs).float()).numpy()
    for task, target in segments.targets(part[first]).items():
        shares = target if target.ndim == 2 else np.eye(TASKS[task])[target]
        song, label = np.nonzero(shares)
        weight = shares[song, label] * class_weights[task][label]
        linear = model.heads.blocks[task][-1]  # type: ignore[index]
        _set(linear, x[song], label, weight)


def _set(linear: torch.nn.Linear, x: np.ndarray, label: np.ndarray, weight: np.ndarray) -> None:
    coefficients, intercepts = np.zeros(linear.weight.shape), np.full(linear.out_features, NEVER)
    known = np.unique(label)
    if len(known) == 1:
        intercepts[known] = 0
    else:
        fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000).fit(x, label, weight)
        # Of two classes scikit-learn keeps the difference of the logits alone.
        both = len(known) > 2
        coefficients[known] = fitted.coef_ if both else [-fitted.coef_[0] / 2, fitted.coef_[0] / 2]
        half = fitted.intercept_ / 2
        intercepts[known] = fitted.intercept_ if both else [-half[0], half[0]]
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(coefficients))
        linear.bias.copy_(torch.from_numpy(intercepts))
