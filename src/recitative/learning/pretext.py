"""How hard is a pretraining's own task? What it is worth to guess, to cheat, and to know everything.

A low loss or a high accuracy says little alone: a task may be solved by a shortcut that teaches nothing
of speech. Beside every pretraining stand, on its validation part:

- of CPC the label prior, the highest accuracy that its negatives leave (in the release every second
  negative equals the true futures, C4), and what two quantities without any network achieve: how
  well the frames agree that the last past and the first future segment share, and how near their mean
  log-mel is;
- of SCAE the errors of two answers without any learning: the mean, and the noisy input itself;
- of the supervised task the share of the most frequent quadrant, and a logistic regression on each
  segment's mean log-mel.
"""

import math
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from recitative.learning.pretraining import Pretraining
from recitative.learning.training import Batch, Batches
from recitative.models import encoder_of
from recitative.models.config import CPCConfig
from recitative.models.cpc import CPC
from recitative.models.emotion import UNKNOWN, Emotion
from recitative.models.scae import SCAE

EXAMPLES = 1024  # of a part, at most: some hundred give a share to two digits
TOGETHER = 64  # in a batch, from which CPC's negatives are taken


def pretext_checks(made: Pretraining, hop: int, seed: int) -> dict[str, float]:
    """What the task of a pretraining is worth: names and figures for the screen and pretext.json.

    `hop` is that of the segments, frames. Neither the model nor torch's generator is changed.
    """
    model = made.model
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        if isinstance(model, CPC):
            return _of_cpc(model, made.validation, hop)
        if isinstance(model, SCAE):
            return _of_scae(model, made.validation)
        if isinstance(model, Emotion):
            return _of_emotions(made)
    return {}


def bayes_ceiling(config: CPCConfig) -> float:
    """The accuracy of somebody who knows everything about speech, in [0.5, 1].

    `released` negatives are the true futures in a random order: 1 of F! is the true one, and on
    these pairs anybody guesses. Derangements and other utterances are never the true futures.
    """
    if config.negatives == "released":
        return 1 - 0.5 / math.factorial(config.future)
    if config.negatives == "derangement" and config.future == 1:
        return 0.5  # it has no negatives
    return 1.0


def best_accuracy(true: np.ndarray, false: np.ndarray) -> float:
    """The accuracy of the best threshold on a score, either way round, at equal priors, in [0.5, 1].

    `true` and `false` are the scores of the two kinds, (N,) and (M,).
    """
    if not len(true) or not len(false):
        return 0.5
    kinds = np.r_[np.ones(len(true)), np.zeros(len(false))]
    fall_out, hits, _ = roc_curve(kinds, np.r_[true, false])
    return float(0.5 + np.abs(hits - fall_out).max() / 2)


def _some(batches: Batches, together: int) -> list[Batch]:
    """At most EXAMPLES examples, evenly from all, in batches."""
    count = min(batches.count, EXAMPLES)
    rows = np.unique(np.linspace(0, batches.count - 1, count).astype(int))
    rows = np.random.default_rng(0).permutation(rows)  # a batch holds many clips
    return [
        batches.take(np.sort(part)) for part in np.split(rows, range(together, count, together))
    ]


def _of_cpc(model: CPC, validation: Batches, hop: int) -> dict[str, float]:
    past, frames = model.config.past, 0
    scores: dict[tuple[str, bool], list[Tensor]] = {}
    for batch in _some(validation, TOGETHER):
        x = encoder_of(model).standardize(batch["x"].flatten(0, 1)[:, None])
        x = x[:, 0].unflatten(0, batch["x"].shape[:2])  # (B, P+F, M, T)
        last, future = x[:, past - 1], x[:, past:]
        shuffled, usable = model.negatives(future.flatten(2), batch["clip"])
        negative = shuffled.view_as(future)
        frames = x.shape[-1]
        for true, shown in ((True, future[usable, 0]), (False, negative[usable, 0])):
            before = last[usable]
            shared = (before[..., hop:] - shown[..., : frames - hop]).square().mean((1, 2))
            mean = (before.mean(-1) - shown.mean(-1)).square().mean(1)
            scores.setdefault(("overlap", true), []).append(-shared)
            scores.setdefault(("mean", true), []).append(-mean)
    found = {key: torch.cat(parts).numpy() for key, parts in scores.items()}
    nothing_shared = model.config.gap > 0
    return {
        "label_prior": 0.5,
        "bayes_ceiling": bayes_ceiling(model.config),
        "overlap_alone": 0.5
        if nothing_shared
        else best_accuracy(found["overlap", True], found["overlap", False]),
        "mean_log_mel_alone": best_accuracy(found["mean", True], found["mean", False]),
    }


def _of_scae(model: SCAE, validation: Batches) -> dict[str, float]:
    squares = [encoder_of(model).standardize(b["x"]).square() for b in _some(validation, TOGETHER)]
    return {
        "error_of_the_mean": float(torch.cat(squares).mean()),
        "error_of_the_noisy_input": float(model.noise**2),
    }


def _of_emotions(made: Pretraining) -> dict[str, float]:
    (x, y), (unseen, truth) = (_means(part) for part in (made.train, made.validation))
    if not len(y) or not len(truth):
        return {}
    majority = np.bincount(y).argmax()
    found = {"label_prior": float((truth == majority).mean())}
    if len(set(y.tolist())) > 1:
        regression: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        found["mean_log_mel_alone"] = float(regression.fit(x, y).score(unseen, truth))
    return found


def _means(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Mean log-mel (N, M) and quadrant (N,) of the segments whose quadrant is known."""
    some = _some(batches, TOGETHER)
    x = np.concatenate([batch["x"].mean((1, 3)).numpy() for batch in some])
    y = np.concatenate([batch["quadrant"].numpy() for batch in some])
    known = y != UNKNOWN
    return x[known], y[known]
