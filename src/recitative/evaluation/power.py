"""What an experiment can see: the smallest difference that songs and repeats detect.

The difference of one pair of cells, in points of song-level macro F, tested two-sided at 5 %. Its
variance is ``(shared + decisions / R) / S + 2 trainings / R`` for S songs and R repeats: more songs
shrink the first part only, more repeats the others. A difference is detected with 80 % power where it
is ``t(.975) + t(.8)`` standard errors, Student's t for few songs and repeats (Cohen 1988, chapter 2).
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from recitative.errors import UserError
from recitative.evaluation.claims import CellName
from recitative.evaluation.comparisons import CellKey, family, spreads_of
from recitative.evaluation.contrasts import POINTS
from recitative.evaluation.metrics import song_decisions
from recitative.evaluation.statistics import Decisions

POWER = 0.8
SONGS = (20, 40, 60, 100, 250, 500, 1000, 2500, 5000, 10_000)  # rows of the table
MOST_SONGS = SONGS[-1]  # what needs more is out of reach
REPEATS = (1, 2, 4, 8)
POWER_COLUMNS = ("songs", "repeats", "points")


@dataclass(frozen=True)
class Variances:
    """Where the chance in a difference of two cells comes from, in units of macro F squared."""

    shared: float  # times the songs: the two cells err on different songs, whatever the training
    decisions: float  # times songs and repeats: trainings of one cell err on different songs
    trainings: float  # of one training of one cell
    cells: int  # whose trainings are pooled in a test: degrees of freedom a further repeat
    source: str  # where they come from

    def error(self, songs: int, repeats: int) -> tuple[float, float]:
        """Standard error of a difference in points, and its degrees of freedom (Satterthwaite 1946).

        One repeat cannot tell how much trainings vary: that part then counts as known.

        Raises:
            UserError: fewer than 2 songs, or no repeat.
        """
        if songs < 2:
            raise UserError(f"{songs} songs: a difference needs 2 at least; name more with --songs")
        if repeats < 1:
            raise UserError(f"{repeats} repeats: name 1 at least with --repeats")
        of_songs = (self.shared + self.decisions / repeats) / songs
        of_trainings = 2 * self.trainings / repeats
        freedom = of_songs**2 / (songs - 1)
        if repeats > 1:
            freedom += of_trainings**2 / (self.cells * (repeats - 1))
        total = of_songs + of_trainings
        return POINTS * math.sqrt(total), total**2 / freedom if freedom else math.inf


# The variances of the 4Q layout in docs/results.md: with 200 songs and 2 repeats a difference of two
# frozen cells has ±6 points; trainings that vary by 2 points make nearly half of its variance.
TYPICAL = Variances(0.02, 0.176, 0.02**2, 6, "typical: 200 songs of the 4Q layout, docs/results.md")


def smallest(variances: Variances, songs: int, repeats: int, level: float = 0.05) -> float:
    """The smallest difference in points that is detected with 80 % power at a two-sided `level`.

    At most 100, the largest there is.

    Raises:
        UserError: fewer than 2 songs, or no repeat.
    """
    error, freedom = variances.error(songs, repeats)
    quantiles = sum(float(stats.t.ppf(share, freedom)) for share in (1 - level / 2, POWER))
    return min(POINTS, error * quantiles)


def songs_for(variances: Variances, points: float, repeats: int) -> int | None:
    """How many songs detect a difference of `points`; None above 10,000, which is out of reach.

    Raises:
        UserError: `points` is not in (0, 100], or there is no repeat.
    """
    if not 0 < points <= POINTS:
        raise UserError(f"{points:g} points: name a difference above 0, at most 100, with --points")
    low, high = 2, MOST_SONGS
    if smallest(variances, high, repeats) > points:
        return None
    while low < high:
        middle = (low + high) // 2
        if smallest(variances, middle, repeats) <= points:
            high = middle
        else:
            low = middle + 1
    return low


def curve(variances: Variances) -> Iterator[dict[str, Any]]:
    """The rows of power.csv, `POWER_COLUMNS`: the smallest difference by songs and repeats."""
    for songs in SONGS:
        for repeats in REPEATS:
            points = round(smallest(variances, songs, repeats), 2)
            yield dict(zip(POWER_COLUMNS, (songs, repeats, points), strict=True))


def variances_of(cells: Mapping[CellName, pd.DataFrame], source: str) -> Variances | None:
    """The variances of cells that were run, by test predictions; None where no pair has 2 repeats.

    Means over the comparisons of tests.csv, within each experiment and architecture.

    Raises:
        UserError: a table cannot be scored.
    """
    grouped: dict[tuple[str, str], dict[CellKey, pd.DataFrame]] = defaultdict(dict)
    for name, table in cells.items():
        grouped[name.experiment, name.arch][CellKey(name.mode, name.pairing)] = table
    shared, decisions, trainings, pooled = [], [], [], []
    for there in grouped.values():
        decided = {key: song_decisions(table, "quadrant") for key, table in there.items()}
        known = spreads_of(decided, lambda key: key.mode)
        coded = {key: Decisions.of(one.true, one.predicted, 4) for key, one in decided.items()}
        for a, b in family(there):
            if min(coded[a].repeats, coded[b].repeats) < 2:
                continue
            of_songs = of_pair(coded[a], coded[b])
            shared.append(of_songs[0])
            decisions.append(of_songs[1])
            trainings += [known[key].variance for key in (a, b)]
            pooled += [known[key].freedom / (coded[key].repeats - 1) for key in (a, b)]
    if not shared:
        return None
    return Variances(
        max(0.0, fmean(shared)), fmean(decisions), fmean(trainings), round(fmean(pooled)), source
    )


def of_pair(a: Decisions, b: Decisions) -> tuple[float, float]:
    """`Variances.shared` (which may come out below 0) and `.decisions` of two cells on the same songs."""
    apart = a.influence().mean(axis=1) - b.influence().mean(axis=1)
    noise = [cell.song_noise() for cell in (a, b)]
    made = sum(n / cell.repeats for n, cell in zip(noise, (a, b), strict=True))
    return float(np.var(apart, ddof=1)) - made, sum(noise)
