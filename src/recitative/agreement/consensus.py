"""What the listeners of a music set agree on: the sign of arousal and valence, and the quadrant.

How ties are settled, everywhere here:

- A rating on the midpoint has no sign. Such an answer counts for no class: not in pairs, not in the
  ceiling; but its rater still counts among the clip's raters when a majority is looked for.
- A *majority* is more than half of the clip's raters; two of four are none.
- In the ceiling, where the other raters' first place is shared by k classes, each of the k is the
  reference with a weight of 1/k: what breaking the tie at random gives on average, without a draw.

Codes are those of `metrics.LABELS`: quadrants 0 to 3 are Q1 (A+V+), Q2 (A+V-), Q3 (A-V-) and Q4
(A-V+); arousal and valence are 0 below the midpoint and 1 above it; -1 is no class.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from recitative.agreement import alpha as krippendorff
from recitative.agreement.alpha import Floats, Ints, Level
from recitative.agreement.ratings import Ratings
from recitative.errors import UserError
from recitative.evaluation.metrics import LABELS, TASKS, Task, macro_f1_from_confusion
from recitative.seeding import derive_rng
from recitative.vocabulary import SIGNS

LEVEL_OF: dict[Task, Level] = {
    "arousal": "interval", "valence": "interval", "quadrant": "nominal",
}  # fmt: skip
ALPHA_COLUMNS = (
    "music_language", "variable", "level", "alpha", "low", "high", "resampled", "raters", "units",
    "ratings",
)  # fmt: skip
_BATCH = 50  # draws at a time


@dataclass(frozen=True)
class Classes:
    """Ratings as classes of one task; N entries, one a rater and clip."""

    rater: Ints  # (N,) 0 to R - 1
    clip: Ints  # (N,) 0 to U - 1
    code: Ints  # (N,) 0 to K - 1, or -1 for no class
    names: tuple[str, ...]  # the K classes


@dataclass(frozen=True)
class Ceiling:
    """Macro F of a held-out rater against the majority of the others: a reference, no limit.

    A model of what most listeners say can do better than one listener.
    """

    macro_f1: float  # mean over raters, in [0, 1]
    low: float | None  # 95 % percentile interval over clips
    high: float | None
    by_rater: Floats  # (R,) NaN where a rater shares no clip with another


def sign_codes(values: Floats, midpoint: float = 0.0) -> Ints:
    """(N,) 1 above the midpoint, 0 below it, -1 on it or where missing."""
    with np.errstate(invalid="ignore"):
        return np.where(values > midpoint, 1, np.where(values < midpoint, 0, -1)).astype(np.int64)


def task_classes(ratings: Ratings, task: Task, midpoint: float = 0.0) -> Classes:
    """The ratings as classes of `task`.

    The ratings have the values ``arousal`` and ``valence``, in any case. At the midpoint the scale
    turns from negative to positive: a rating there has code -1, one without an answer is left out.

    Raises:
        UserError: the ratings have no arousal or no valence.
    """
    values = {name: _value(ratings, name) for name in ("arousal", "valence")}
    arousal, valence = (sign_codes(value, midpoint) for value in values.values())
    quadrant = np.full(arousal.shape, -1)
    for place, (high, positive) in enumerate(SIGNS.values()):
        quadrant[(arousal == (high > 0)) & (valence == (positive > 0))] = place
    code = {"quadrant": quadrant, "arousal": arousal, "valence": valence}[task]
    needed = ("arousal", "valence") if task == "quadrant" else (task,)
    given = ~np.any([np.isnan(values[name]) for name in needed], axis=0)
    return Classes(ratings.rater[given], ratings.unit[given], code[given], LABELS[task])


def class_counts(classes: Classes) -> Ints:
    """(U, K) how many raters put each clip in each class."""
    kinds, clips = len(classes.names), int(classes.clip.max(initial=-1)) + 1
    chosen = classes.code >= 0
    key = classes.clip[chosen] * kinds + classes.code[chosen]
    return np.bincount(key, minlength=clips * kinds).reshape(clips, kinds)


def majority_share(classes: Classes) -> float | None:
    """Share of the clips with two raters or more on which more than half of them agree.

    None where no clip has two raters.
    """
    counts = class_counts(classes)
    raters = np.bincount(classes.clip, minlength=len(counts))
    several = raters > 1
    if not np.any(several):
        return None
    return float(np.mean(2 * counts.max(axis=1)[several] > raters[several]))


def pair_agreement(classes: Classes) -> float | None:
    """Mean over clips of the share of its pairs of raters who chose the same class.

    Raters without a class are in no pair. None where no clip has a pair.
    """
    counts = class_counts(classes)
    size = counts.sum(axis=1)
    several = size > 1
    if not np.any(several):
        return None
    counts, size = counts[several], size[several]
    return float(np.mean(np.sum(counts * (counts - 1), axis=1) / (size * (size - 1))))


def confusion_between_raters(classes: Classes) -> Floats:
    """What another rater of the same clip says, given what one says.

    Every clip weighs as many as it has raters with a class, as in Krippendorff's alpha.

    Returns:
        (K, K): where one rater chose i (row), the share of the others who chose j (column). A row
        sums to 1, or is NaN where nobody who chose i has company.
    """
    counts = class_counts(classes).astype(np.float64)
    size = counts.sum(axis=1)
    counts, size = counts[size > 1], size[size > 1]
    together = (counts / (size - 1)[:, np.newaxis]).T @ counts
    together -= np.diag((counts / (size - 1)[:, np.newaxis]).sum(axis=0))
    total = together.sum(axis=1, keepdims=True)
    shares: Floats = np.full(together.shape, np.nan)
    np.divide(together, total, out=shares, where=total > 0)
    return shares


def ceiling(classes: Classes, *, rng: np.random.Generator, draws: int = 1000) -> Ceiling | None:
    """Macro F of one held-out rater against the others' majority, mean over raters.

    The rater is scored as a model would be: over the clips that he or she and at least one other
    put in a class, macro over all K classes, one that never occurs counting 0 (`metrics.score`).

    The interval comes from `draws` resamples of the clips. None where no two raters share a clip.
    """
    counts, kinds = class_counts(classes), len(classes.names)
    chosen = classes.code >= 0
    rater, clip, code = classes.rater[chosen], classes.clip[chosen], classes.code[chosen]
    others = counts[clip].copy()
    others[np.arange(len(clip)), code] -= 1
    first = (others == others.max(axis=1, keepdims=True)) & (others > 0)
    company = np.flatnonzero(first.any(axis=1))
    if not len(company):
        return None
    raters = int(classes.rater.max()) + 1
    entry, reference = np.nonzero(first[company])
    row = company[entry]
    weight = 1 / first[row].sum(axis=1)
    cell = (rater[row] * kinds + reference) * kinds + code[row]
    # Confusion matrices are sums over clips: (draws, clips) @ (clips, raters x true x predicted).
    matrices = sparse.csr_array((weight, (clip[row], cell)), (len(counts), raters * kinds * kinds))

    def scores(clip_weights: Floats) -> Floats:
        confusion = (clip_weights @ matrices).reshape(-1, raters, kinds, kinds)
        scored = confusion.sum(axis=(2, 3)) > 0
        return np.where(scored, macro_f1_from_confusion(confusion), np.nan)

    by_rater = scores(np.ones((1, len(counts))))[0]
    shared = np.unique(clip[row])
    drawn = np.full(draws, np.nan)
    for at in range(0, draws, _BATCH):
        size = min(_BATCH, draws - at)
        weights = np.zeros((size, len(counts)))
        equal = np.full(len(shared), 1 / len(shared))
        weights[:, shared] = rng.multinomial(len(shared), equal, size)
        drawn[at : at + size] = np.nanmean(scores(weights), axis=1)
    low, high = krippendorff.percentile_interval(drawn) or (None, None)
    return Ceiling(float(np.nanmean(by_rater)), low, high, by_rater)


def agreement_rows(
    ratings: Ratings,
    music_language: str,
    *,
    seed: int,
    draws: int = 1000,
    midpoint: float = 0.0,
    jobs: int = 1,
) -> list[dict[str, Any]]:
    """Alpha of a music set's arousal, valence and quadrant, each under the three resamplings.

    Every row has its own stream of the root `seed`; `jobs` threads change nothing but the time.

    Returns:
        Nine rows under `ALPHA_COLUMNS`. Alpha, low and high are None where undefined; `ratings`
        counts the answers, `raters` and `units` those with one.
    """
    rows = []
    for task in ("arousal", "valence", "quadrant"):
        rater, unit, value = answers(ratings, task, midpoint)
        level = LEVEL_OF[task]
        alpha = krippendorff.alpha_from_long(rater, unit, value, level)
        for resampled in krippendorff.RESAMPLED:
            rng = derive_rng(seed, "agreement", music_language, task, resampled)
            interval = krippendorff.alpha_interval(
                rater, unit, value, level, resampled=resampled, rng=rng, draws=draws, jobs=jobs
            )
            low, high = interval or (None, None)
            cells = (music_language, task, level, alpha, low, high, resampled)
            counts = (len(np.unique(rater)), len(np.unique(unit)), len(value))
            rows.append(dict(zip(ALPHA_COLUMNS, (*cells, *counts), strict=True)))
    return rows


def set_agreement(
    ratings: Ratings, *, seed: int, draws: int = 1000, midpoint: float = 0.0
) -> dict[str, Any]:
    """What else a results table needs to know of a music set's listeners, as JSON.

    Returns:
        ``majority_share`` (of clips, on the quadrant), ``sign_agreement`` by arousal and valence,
        ``ceiling`` by task with ``macro_f1``, ``low``, ``high`` (over clips), ``confusion`` (K, K)
        between raters by quadrant, the counts ``raters``, ``clips`` and ``ratings``, and
        ``on_midpoint``: the ratings that have no quadrant. None stands for what is undefined.
    """
    classes = {task: task_classes(ratings, task, midpoint) for task in TASKS}
    quadrant = classes["quadrant"]
    ceilings: dict[str, Any] = {}
    for task in TASKS:
        one = ceiling(classes[task], rng=derive_rng(seed, "ceiling", task), draws=draws)
        ceilings[task] = one and {"macro_f1": one.macro_f1, "low": one.low, "high": one.high}
    return {
        "majority_share": majority_share(quadrant),
        "sign_agreement": {task: pair_agreement(classes[task]) for task in ("arousal", "valence")},
        "ceiling": ceilings,
        "confusion": [
            [None if np.isnan(share) else float(share) for share in row]
            for row in confusion_between_raters(quadrant)
        ],
        "raters": len(np.unique(quadrant.rater)),
        "clips": len(np.unique(quadrant.clip)),
        "ratings": len(quadrant.code),
        "on_midpoint": int(np.count_nonzero(quadrant.code < 0)),
    }


def label_shares(ratings: Ratings, midpoint: float = 0.0) -> Iterator[tuple[str, Floats, float]]:
    """Each clip's name, its raters' distribution over the quadrants, and their agreement.

    Clips on which no rater chose a quadrant are left out.

    Yields:
        The name; (4,) shares that sum to 1, of the raters who chose a quadrant; and the share of
        all the clip's raters who chose the most chosen one, in (0, 1].
    """
    classes = task_classes(ratings, "quadrant", midpoint)
    counts = class_counts(classes)
    raters = np.bincount(classes.clip, minlength=len(counts))
    for clip in np.flatnonzero(counts.sum(axis=1)):
        row = counts[clip]
        yield ratings.units[clip], row / row.sum(), float(row.max() / raters[clip])


def answers(ratings: Ratings, task: Task, midpoint: float) -> tuple[Ints, Ints, Ints | Floats]:
    """(N,) raters, clips and what alpha is of: ratings, or codes of quadrants; each is given."""
    if task == "quadrant":
        classes = task_classes(ratings, task, midpoint)
        chosen = classes.code >= 0
        return classes.rater[chosen], classes.clip[chosen], classes.code[chosen]
    value = _value(ratings, task)
    given = ~np.isnan(value)
    return ratings.rater[given], ratings.unit[given], value[given]


def _value(ratings: Ratings, name: str) -> Floats:
    """The value of that name in any case, so that a wide table's ``Arousal_*`` is found."""
    for column, value in ratings.values.items():
        if column.lower() == name:
            return value
    raise UserError(f"the ratings have no {name!r}; they have: {', '.join(ratings.values)}")
