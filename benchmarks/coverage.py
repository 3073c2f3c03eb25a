"""How often a 95 % interval holds the truth, and how often a difference is found, by simulation.

    python -m benchmarks.coverage                          200 simulations a case, 3 minutes
    python -m benchmarks.coverage --simulations 1000       the tables of docs/statistics.md
    python -m benchmarks.coverage --only families          p before and after further experiments

A song has a difficulty, a training an ability; a decision is right where ability beats difficulty and
chance. The chance is that of the 4Q layout in docs/results.md (200 songs, 2 repeats: ±6 points);
trainings vary by 2 points there with the pooled head and by 4 with the flat one. Two music sets, each
with three pretrained cells and a control whose trainings vary twice as much.
"""

import argparse
import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from recitative.evaluation.claims import FAMILY_SIZE, CellName
from recitative.evaluation.comparisons import NO_PRETRAINING
from recitative.evaluation.contrasts import POINTS, SongSet, contrast, pair, permutation_p
from recitative.evaluation.metrics import macro_f1_from_confusion
from recitative.evaluation.power import Variances, of_pair, smallest
from recitative.evaluation.statistics import Decisions, bootstrap_interval, spreads
from recitative.evaluation.verdicts import Agreement, Evidence, judge
from recitative.vocabulary import MUSIC, SPEECH

K = 4
SHARES = {"4Q": [0.25, 0.25, 0.25, 0.25], "CH-818": [0.476, 0.157, 0.258, 0.109]}
WRONG = np.array([0.4, 0.2, 0.25, 0.15])  # which class a wrong decision names
CHANCE = 0.5  # deviation of a decision's own chance; that of the songs' difficulty is 1
BETTER = 5.0  # points: the true difference
DRAWS = 499
Codes = NDArray[np.int64]


def confusion(shares: list[float], ability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected confusions (N, K, K) of trainings of (N,) abilities."""
    right = stats.norm.cdf(ability / math.hypot(1, CHANCE))
    found = np.zeros((len(ability), K, K))
    for true in range(K):
        named = WRONG.copy()
        named[(true + 1) % K] += named[true]
        named[true] = 0
        found[:, true] = shares[true] * (1 - right)[:, None] * named
        found[:, true, true] = shares[true] * right
    return found


def true_f1(shares: list[float], ability: float, spread: float) -> float:
    """Macro F of all songs and trainings that there could be."""
    trainings = ability + spread * stats.norm.ppf((np.arange(400) + 0.5) / 400)
    return float(macro_f1_from_confusion(confusion(shares, trainings)).mean())


def slope(shares: list[float]) -> float:
    """Points of macro F by which a training of ability 0.1 is better than one of 0."""
    return POINTS * (true_f1(shares, 0.1, 0) - true_f1(shares, 0.0, 0)) / 0.1


def songs_of(shares: list[float], songs: int, rng: np.random.Generator) -> tuple[Codes, Codes]:
    """Classes of a test part that was divided per class, and difficulties; each (S,)."""
    exact = np.array(shares) * songs
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact)[: songs - counts.sum()]] += 1
    return np.repeat(np.arange(K), counts), rng.normal(0, 1, songs)


def decided(
    drawn: tuple[Codes, Codes],
    repeats: int,
    ability: float,
    spread: float,
    rng: np.random.Generator,
) -> Codes:
    """The decisions (R, S) of one cell, whose trainings' abilities vary by `spread`."""
    true, hard = drawn
    shape = repeats, len(true)
    trained = ability + rng.normal(0, spread, (repeats, 1))
    right = trained + hard + rng.normal(0, CHANCE, shape) > 0
    wrong = rng.choice(K, p=WRONG, size=shape)
    return np.where(right, true, np.where(wrong == true, (true + 1) % K, wrong))


def cover(
    name: str, points: float, songs: int, repeats: int, simulations: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Shares of intervals that hold the truth: of a difference, against a control, of a cell's F."""
    shares = SHARES[name]
    spread = points / slope(shares)
    better = BETTER / slope(shares)
    f1 = {
        cell: true_f1(shares, better * (cell == "a"), spread * (1 + (cell == "control")))
        for cell in ("a", "b", "c", "control")
    }
    hits = np.zeros(3)
    for _ in range(simulations):
        sets = []
        for music in ("one", "two"):
            drawn = songs_of(shares, songs, rng)
            cells = {
                (music, cell): decided(
                    drawn, repeats, better * (cell == "a"), spread * (1 + (cell == "control")), rng
                )
                for cell in f1
            }
            pairs = [((music, cell), (music, "control")) for cell in "abc"]
            sets.append(SongSet(drawn[0], cells, pairs))
        whole = {
            cell: Decisions.of(one.true, predicted, K)
            for one in sets
            for cell, predicted in one.predicted.items()
        }
        known = spreads(whole, lambda cell: cell[1] == "control")
        first, (a, b) = sets[0], (("one", "a"), ("one", "b"))
        two = SongSet(first.true, first.predicted, [(a, b)])
        found = contrast([two], K, rng, draws=DRAWS, spreads=known)
        hits[0] += found.low <= POINTS * (f1["a"] - f1["b"]) <= found.high
        found = contrast(sets, K, rng, draws=DRAWS, spreads=known)
        truth = POINTS * (f1["a"] + f1["b"] + f1["c"] - 3 * f1["control"]) / 3
        hits[1] += found.low <= truth <= found.high
        one = bootstrap_interval(
            first.true, first.predicted[a], K, rng, draws=DRAWS, spread=known[a]
        )
        hits[2] += one.low <= f1["a"] <= one.high
    return tuple(hits / simulations)


def coverage(simulations: int, seed: int) -> Iterator[str]:
    """The table of coverage."""
    yield "| music | trainings vary by | songs | repeats | difference | against a control | F |"
    yield "|---|---|---|---|---|---|---|"
    for name, points in (("4Q", 2.0), ("4Q", 4.0), ("CH-818", 2.0)):
        for songs, repeats in product((20, 60, 250), (2, 4, 8)):
            rng = np.random.default_rng([seed, songs, repeats, int(points)])
            found = cover(name, points, songs, repeats, simulations, rng)
            shown = " | ".join(f"{100 * share:.1f}" for share in found)
            yield f"| {name} | {points:g} points | {songs} | {repeats} | {shown} |"


def detected(simulations: int, seed: int) -> Iterator[str]:
    """How often the smallest difference that `recitative power` names is found; 80 % is meant."""
    yield "| songs | repeats | smallest difference | found | found where there is none |"
    yield "|---|---|---|---|---|"
    shares, points = SHARES["4Q"], 2.0
    spread = points / slope(shares)
    rng = np.random.default_rng([seed, 1])
    drawn = songs_of(shares, 4000, rng)
    a, b = (
        Decisions.of(drawn[0], decided(drawn, 16, better / slope(shares), spread, rng), K)
        for better in (BETTER, 0.0)
    )
    shared, decisions = of_pair(a, b)
    known = Variances(max(0.0, shared), decisions, (points / POINTS) ** 2, 6, "simulated")
    for songs, repeats in ((60, 4), (60, 8), (250, 2), (250, 4), (250, 8)):
        difference = smallest(known, songs, repeats)
        found = []
        for better in (difference / slope(shares), 0.0):
            count = 0
            for _ in range(simulations):
                drawn = songs_of(shares, songs, rng)
                cells = {
                    at: decided(drawn, repeats, better * (at == 0), spread, rng) for at in range(6)
                }
                whole = {at: Decisions.of(drawn[0], one, K) for at, one in cells.items()}
                pooled = spreads(whole, lambda _: "all")[0]
                sets = pair(drawn[0], cells[0], cells[1])
                tested = contrast(sets, K, rng, draws=DRAWS, spreads={"a": pooled, "b": pooled})
                p = max(tested.p_repeats, permutation_p(sets, K, rng, draws=DRAWS))
                count += p <= 0.05
            found.append(f"{100 * count / simulations:.1f} %")
        yield f"| {songs} | {repeats} | {difference:.1f} points | {' | '.join(found)} |"


def predictions(name: CellName, drawn: tuple[Codes, Codes], told: Codes) -> pd.DataFrame:
    """A cell's predictions, one segment a song, from its decisions (R, S)."""
    repeats, songs = told.shape
    clips = [f"{name.music}-{song}" for song in range(songs)] * repeats
    columns = {
        "arch": name.arch, "transfer_mode": name.mode, "repeat": np.repeat(range(repeats), songs),
        "clip": clips, "group": clips, "segment": 0,
        **{f"q{at + 1}": (told.ravel() == at).astype(float) for at in range(K)},
        "arousal": 0.5, "valence": 0.5, "quadrant": np.tile([f"Q{c + 1}" for c in drawn[0]], repeats),
    }  # fmt: skip
    return pd.DataFrame(columns)


def families(seed: int) -> Iterator[str]:
    """Corrected p of each claim with one encoder, and beside a second one and listeners."""
    rng = np.random.default_rng([seed, 2])
    shares = SHARES["4Q"]
    drawn = {music: songs_of(shares, 60, rng) for music in MUSIC}
    spread = 2.0 / slope(shares)
    evidence: list[Evidence] = []
    cells: dict[CellName, pd.DataFrame] = {}
    heard = {
        m: Agreement(a, a + 0.1 * rng.normal(size=999), 60) for m, a in (("eng", 0.7), ("man", 0.4))
    }
    for arch, listeners in (("scae", {}), ("emotion", {}), ("emotion", heard)):
        for mode, control in NO_PRETRAINING.items():
            pairings = [f"{speech}2{music}" for music in MUSIC for speech in SPEECH]
            for pairing in [*pairings, *(f"none2{music}" for music in MUSIC)]:
                none = pairing.startswith("none2")
                name = CellName("demo", arch, control if none else mode, pairing)
                if name not in cells:
                    better = 0.0 if none else 12.0 / slope(shares)
                    told = decided(drawn[name.music], 4, better, spread, rng)
                    cells[name] = predictions(name, drawn[name.music], told)
        evidence.append(Evidence(dict(cells), {"demo": 3.0}, agreement=listeners))
    found = [judge(one, seed) for one in evidence]
    holm = [
        dict(zip(
            (v.claim for v in one if v.p is not None),
            multipletests([v.p for v in one if v.p is not None], method="holm")[1],
            strict=True,
        ))
        for one in found
    ]  # fmt: skip
    yield "| claim | family | p | corrected: alone, with emotion, with listeners | Holm over all there |"
    yield "|---|---|---|---|---|"
    for place, last in enumerate(found[-1]):
        if last.p is None:
            continue
        ours = [one[place].p_corrected for one in found]
        shown = [
            ", ".join("–" if p is None else f"{p:.3f}" for p in column)
            for column in (ours, [one.get(last.claim) for one in holm])
        ]
        family = f"{last.family}, {FAMILY_SIZE[last.family]}"
        yield f"| {last.claim} | {family} | {last.p:.4f} | {' | '.join(shown)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulations", type=int, default=200, help="a case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("coverage", "power", "families"))
    given = parser.parse_args()
    error = 100 * math.sqrt(0.95 * 0.05 / given.simulations)
    tables = {
        "coverage": lambda: coverage(given.simulations, given.seed),
        "power": lambda: detected(given.simulations, given.seed),
        "families": lambda: families(given.seed),
    }
    for name, table in tables.items():
        if given.only in (None, name):
            print(f"\n{name}: {given.simulations} simulations a case, ±{2 * error:.1f} at 95 %\n")
            for line in table():
                print(line, flush=True)


if __name__ == "__main__":
    main()
