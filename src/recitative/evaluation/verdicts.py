"""Supported, refuted or undecided: the verdict on each claim, with the numbers that it stands on.

One effect a part of a claim, in points of song-level quadrant macro F, with a 95 % interval from a
bootstrap over songs and repeats, all on the same test songs (`contrasts`).

- *greater*: the two-sided p is the larger of the permutation's and the bootstrap's.
- *similar*: two one-sided tests against ±3 points around what is expected (TOST); where the effect
  lies outside, the two-sided p of being outside.

Each claim has one p, that of the side on which its effects stand. Where all parts stand on the
claimed side, it is the largest of the parts' (each must hold); else the smallest of those that
stand against it, times the number of parts. It is corrected by Bonferroni over the claim's family,
whose size `claims.csv` fixes in advance: what else was run changes no claim's p. At a corrected p
of at most 0.05 a claim is *supported* or, from the other side, *refuted*: the same strictness both
ways. Everything else is *undecided*, which is not "no effect"; `recitative power` says what could
have been seen. A claim whose cells are not there has no verdict, but says what is missing and which
command makes it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from recitative.evaluation.claims import (
    AGREE_LESS,
    ARCHS,
    CLAIMS,
    EMOTION,
    FAMILY,
    FAMILY_SIZE,
    FASTER,
    FIRST,
    FOUR_PAST,
    SECOND,
    TWO_FUTURES,
    CellName,
    Claim,
    Part,
)
from recitative.evaluation.comparisons import spreads_of
from recitative.evaluation.contrasts import MARGIN, Contrast, SongSet, contrast, permutation_p
from recitative.evaluation.metrics import Floats, SongDecisions, require_same_songs, song_decisions
from recitative.evaluation.statistics import (
    DRAWS,
    LEVEL,
    bonferroni,
    interval,
    subset_means,
    tail_p,
)
from recitative.seeding import derive_rng
from recitative.vocabulary import MUSIC

Word = Literal["supported", "refuted", "undecided", "not testable here"]
CLASSES = 4
POINTS_OF_F = "points of macro F"
SECOND_AMOUNT = "a second amount of speech (the paper's: 3 and 30 hours)"
OTHER_AMOUNT = "dvc exp run -S balance.speech_hours=HOURS"


@dataclass(frozen=True)
class Pretraining:
    """One self-supervised training, as far as a claim asks about it."""

    experiment: str
    arch: str
    language: str
    seed: int
    past: int | None  # CPC's segments
    future: int | None
    accuracy: float | None  # CPC's on validation, [0, 1]
    epochs_to_best: int  # epochs until the lowest validation loss, from 1
    epochs: int  # that were run
    run_id: str
    losses: tuple[tuple[float, float], ...] = ()  # of training and validation, by epoch


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha of one music set's quadrants, and its bootstrap over raters and clips."""

    alpha: float
    draws: Floats  # (D,), NaN where undefined
    clips: int


@dataclass(frozen=True)
class Evidence:
    """All that there is to judge by."""

    # test predictions of each cell and control, all repeats, columns `PREDICTION_COLUMNS`
    cells: Mapping[CellName, pd.DataFrame]
    hours: Mapping[str, float]  # hours of speech a language behind each experiment
    # MLflow run ids of each cell
    runs: Mapping[CellName, Sequence[str]] = field(default_factory=dict)
    pretrainings: Sequence[Pretraining] = ()  # for the claims about pretraining itself
    agreement: Mapping[str, Agreement] = field(default_factory=dict)  # by music language

    def labels(self) -> dict[str, str]:
        """Which experiments here stand for the paper's 1 and 2: the least and the most speech.

        Of the paper's encoders: a run of another one changes no pairs.
        """
        ours = {name.experiment for name in self.cells if name.arch in ARCHS}
        there = sorted((self.hours.get(e, 0.0), e) for e in ours)
        if not there or {FIRST, SECOND} & {experiment for _, experiment in there}:
            return {FIRST: FIRST, SECOND: SECOND}
        return {FIRST: there[0][1], SECOND: there[-1][1]}


@dataclass(frozen=True)
class Effect:
    """One part's effect with its 95 % interval, in the claim's unit."""

    name: str
    value: float
    low: float
    high: float
    p: float  # not corrected
    stands: bool  # whether the effect lies on the claimed side
    songs: int


@dataclass(frozen=True)
class Verdict:
    """What is to be said about one claim. The effect is that of the part that decides."""

    claim: str
    sentence: str
    source: str
    verdict: Word
    test: str
    unit: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None  # over the family
    songs: int | None = None
    parts: tuple[Effect, ...] = ()
    run_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: str | None = None
    command: str | None = None

    @property
    def family(self) -> str:
        """Of claims that are corrected together."""
        return FAMILY[self.claim]


def judge(evidence: Evidence, seed: int, draws: int = DRAWS) -> list[Verdict]:
    """The verdict on every claim, in the order of the list of claims.

    Raises:
        UserError: two cells that a claim compares were not tested on the same songs, or a table
            cannot be scored.
    """
    found = [*_matrix_claims(evidence, seed, draws), _faster(evidence), _agree_less(evidence)]
    found += [_setting(evidence, TWO_FUTURES, "future"), _setting(evidence, FOUR_PAST, "past")]
    return sorted(found, key=lambda one: (int(one.claim.rstrip("abc")), one.claim))


def _tested(
    head: tuple[str, str, str], test: str, unit: str, effects: Sequence[Effect],
    runs: Sequence[str] = (), notes: Sequence[str] = (),
) -> Verdict:  # fmt: skip
    """The verdict on a claim, with the numbers of the part that decides.

    That is the weakest part of a claim that stands; else the strongest part against it.
    """
    against = [effect for effect in effects if not effect.stands]
    one = min(against, key=lambda e: e.p) if against else max(effects, key=lambda e: e.p)
    p = min(1.0, len(effects) * one.p) if against else one.p
    corrected = bonferroni(p, FAMILY_SIZE[FAMILY[head[0]]])
    word: Word = "undecided"
    if corrected <= LEVEL:
        word = "refuted" if against else "supported"
    return Verdict(
        *head, word, test, unit, one.value, one.low, one.high, p, corrected, one.songs or None,
        tuple(effects), tuple(runs), tuple(notes),
    )  # fmt: skip


def _untestable(
    head: tuple[str, str, str], missing: str, command: str, unit: str = POINTS_OF_F
) -> Verdict:
    return Verdict(*head, "not testable here", "", unit, missing=missing, command=command)


# ------------------------------------------------------------------------------------------------


def _matrix_claims(evidence: Evidence, seed: int, draws: int) -> Iterator[Verdict]:
    labels = evidence.labels()
    decisions = {name: song_decisions(cell, "quadrant") for name, cell in evidence.cells.items()}
    known = spreads_of(decisions, lambda name: (name.experiment, name.arch, name.mode))
    seen: dict[tuple[Any, ...], str] = {}
    for claim in CLAIMS:
        head = (claim.id, claim.sentence, claim.source)
        wanted = claim.parts(labels)
        parts = [
            Part(part.name, tuple(p for p in part.pairs if _there(p, evidence))) for part in wanted
        ]
        absent = [p for part in wanted for p in part.pairs if not _there(p, evidence)]
        if not all(part.pairs for part in parts) or (claim.strict and absent):
            yield _untestable(head, *_missing(absent or wanted[0].pairs, evidence))
            continue
        same = seen.setdefault((claim.kind, claim.expected, *parts), claim.id)
        if same != claim.id:
            missing = f"{SECOND_AMOUNT}: the cells are those of claim {same}"
            yield _untestable(head, missing, OTHER_AMOUNT)
            continue
        # So many draws that none beyond 0 is enough for a verdict, whatever the family and parts.
        enough = max(draws, math.ceil(2 * len(parts) * FAMILY_SIZE[FAMILY[claim.id]] / LEVEL))
        effects = []
        resampled = set()
        for part in parts:
            sets = _song_sets(part, decisions)
            rng = derive_rng(seed, "claims", claim.id, part.name)
            found = contrast(sets, CLASSES, rng, draws=enough, spreads=known)
            resampled.add(found.resampled)
            effects.append(_effect(claim, part.name, found, sets, rng))
        names = sorted({name for part in parts for pair in part.pairs for name in pair})
        notes = []
        if absent:
            all_pairs = sum(len(part.pairs) for part in wanted)
            notes.append(f"{len(absent)} of {all_pairs} pairs of cells are not here")
        stand_in = sorted({name.experiment for name in names} - {FIRST, SECOND})
        if stand_in:
            notes.append(f"experiment {' and '.join(stand_in)} stands for the paper's")
        if "songs" in resampled:
            notes.append("one repeat: the interval is over songs only")
        elif 2 in {len(decisions[name].predicted) for name in names}:
            notes.append("two repeats say little about how much trainings vary")
        yield _tested(
            head,
            "paired bootstrap over songs and repeats, permutation over songs"
            if claim.kind == "greater"
            else f"TOST within ±{MARGIN:g} of {claim.expected:g} points, paired bootstrap",
            POINTS_OF_F,
            effects,
            [run for name in names for run in evidence.runs.get(name, ())],
            notes,
        )


def _there(pair: tuple[CellName, CellName], evidence: Evidence) -> bool:
    """Whether both cells are there, and are two."""
    return pair[0] != pair[1] and all(name in evidence.cells for name in pair)


def _song_sets(part: Part, decisions: Mapping[CellName, SongDecisions]) -> list[SongSet]:
    """The part's cells as decisions, a set of songs for each music language."""
    sets = []
    for music in dict.fromkeys(a.music for a, _ in part.pairs):
        pairs = [pair for pair in part.pairs if pair[0].music == music]
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        for name in names:
            require_same_songs(decisions[names[0]], decisions[name])
        predicted = {name: decisions[name].predicted for name in names}
        sets.append(SongSet(decisions[names[0]].true, predicted, pairs))
    return sets


def _effect(
    claim: Claim,
    name: str,
    found: Contrast,
    sets: Sequence[SongSet],
    rng: np.random.Generator,
) -> Effect:
    if claim.kind == "greater":
        stands = found.value > 0
        p = max(found.p_repeats, permutation_p(sets, CLASSES, rng, draws=len(found.draws)))
    else:
        stands = abs(found.value - claim.expected) < MARGIN
        test = found.p_similar if stands else found.p_apart
        p = test(MARGIN, claim.expected)
    return Effect(name, found.value, found.low, found.high, p, stands, found.songs)


def _missing(absent: Sequence[tuple[CellName, CellName]], evidence: Evidence) -> tuple[str, str]:
    """What is not there, and the command that makes it."""
    if all(a == b for a, b in absent):
        return SECOND_AMOUNT, OTHER_AMOUNT
    names = sorted({n for pair in absent for n in pair if n not in evidence.cells})
    archs = {name.arch for name in evidence.cells}
    experiments = {name.experiment for name in evidence.cells}
    lacking = sorted({name.arch for name in names} - archs)
    if lacking and (archs or lacking[0] == EMOTION):
        return f"architecture {lacking[0]}", f"dvc exp run -S pretrain.arch={lacking[0]}"
    other = sorted({name.experiment for name in names} - experiments)
    if other and experiments:
        hours = {FIRST: 3, SECOND: 30}.get(other[0])
        amount = f" -S balance.speech_hours={hours}" if hours else ""
        return f"experiment {other[0]}", f"dvc exp run -S size=paper{amount}"
    shown = ", ".join(map(str, names[:3])) + (f" and {len(names) - 3} more" if names[3:] else "")
    stage = "controls" if names[0].pairing.startswith("none2") else "transfer"
    return shown, f"dvc repro {stage}"


# ------------------------------------------------------------------------------------------------


Twins = list[tuple[Pretraining, Pretraining]]


def _twins(
    evidence: Evidence, a: Callable[[Pretraining], bool], b: Callable[[Pretraining], bool]
) -> tuple[Twins, bool]:
    """Pretrainings of both kinds on the same speech with the same seed; whether any is of kind a."""
    kinds: list[dict[tuple[Any, ...], Pretraining]] = []
    for chosen in (a, b):
        reverse = [one for one in evidence.pretrainings if chosen(one)][::-1]  # the first one stays
        kinds.append({(one.experiment, one.language, one.seed): one for one in reverse})
    first, second = kinds
    return [(first[key], second[key]) for key in sorted(first.keys() & second.keys())], bool(first)


def _of_twins(
    head: tuple[str, str, str], name: str, twins: Twins, values: Sequence[float], unit: str,
    bound: float, *notes: str,
) -> Verdict:  # fmt: skip
    """Mean of paired differences above 0, of which none lies beyond ±bound.

    Exact: the means of all subsets of the pairs (Hartigan 1969) give the interval and, turned round,
    the permutation of signs its p. Of fewer than 6 pairs no value in the range can be left out.
    """
    draws = subset_means(np.array(values, np.float64))
    low, high = interval(draws, LEVEL / 2)
    if LEVEL / 2 * (len(draws) + 1) < 1:
        low, high = -bound, bound
    value = float(np.mean(values))
    p = min(1.0, 2 * min(tail_p(draws <= 0), tail_p(draws >= 0)))
    effect = Effect(name, value, low, high, p, value > 0, 0)
    runs = tuple(one.run_id for pair in twins for one in pair)
    test = "exact permutation of signs over pairs of pretrainings, and its interval"
    return _tested(
        head, test, unit, (effect,), runs, (f"{len(twins)} pairs of pretrainings", *notes)
    )


def _faster(evidence: Evidence) -> Verdict:
    """Claim 9: epochs to the lowest validation loss."""
    twins, scae = _twins(evidence, lambda one: one.arch == "scae", lambda one: one.arch == "cpc")
    if len(twins) < 2:
        missing = f"{len(twins)} pretrainings of both architectures on the same speech; 2 at least"
        command = f"dvc exp run -S pretrain.arch={'cpc' if scae else 'scae'}"
        return _untestable(FASTER, missing, command, "epochs")
    unfinished = sum(one.epochs_to_best == one.epochs for pair in twins for one in pair)
    note = (
        f"{unfinished} of {2 * len(twins)} were still improving in their last epoch: the epochs ran "
        "out before they converged"
    )
    values = [scae.epochs_to_best - cpc.epochs_to_best for scae, cpc in twins]
    bound = max(one.epochs for pair in twins for one in pair) - 1
    notes = [note] * bool(unfinished)
    return _of_twins(FASTER, "SCAE − CPC", twins, values, "epochs", bound, *notes)


def _setting(
    evidence: Evidence, head: tuple[str, str, str], name: Literal["past", "future"]
) -> Verdict:
    """Claim 12: CPC's validation accuracy with one setting against the other, all else equal."""
    good, bad = (2, 4) if name == "future" else (4, 2)
    held, usual = ("past", 4) if name == "future" else ("future", 2)

    def of(number: int) -> Callable[[Pretraining], bool]:
        return lambda one: (
            one.arch == "cpc"
            and one.accuracy is not None
            and (getattr(one, held), getattr(one, name)) == (usual, number)
        )

    twins, there = _twins(evidence, of(good), of(bad))
    unit = "points of validation accuracy"
    if len(twins) < 2:
        return _untestable(
            head,
            f"pretrainings of CPC with {name} {good} and {name} {bad} on the same speech; 2 at least",
            f"dvc exp run -S pretrain.arch=cpc -S cpc.{name}={bad if there else good}",
            unit,
        )
    values = [100 * ((a.accuracy or 0.0) - (b.accuracy or 0.0)) for a, b in twins]
    note = "judged by the pretraining task itself, which is another task with each setting"
    return _of_twins(head, f"{name} {good} − {name} {bad}", twins, values, unit, 100.0, note)


def _agree_less(evidence: Evidence) -> Verdict:
    """Claim 11: alpha of the quadrants, English less Mandarin; both bootstraps are independent."""
    absent = [music for music in MUSIC if music not in evidence.agreement]
    if absent:
        return _untestable(
            AGREE_LESS,
            f"answers of several listeners to each clip of music-{' and music-'.join(absent)}",
            "recitative audit data",
            "alpha",
        )
    english, mandarin = evidence.agreement["eng"], evidence.agreement["man"]
    draws = english.draws - mandarin.draws
    draws = draws[~np.isnan(draws)]
    low, high = interval(draws, 0.025)
    value = english.alpha - mandarin.alpha
    p = min(1.0, 2 * min(tail_p(draws <= 0), tail_p(draws >= 0)))
    clips = english.clips + mandarin.clips
    effect = Effect("English − Mandarin", value, low, high, p, value > 0, clips)
    notes = (f"alpha {english.alpha:.3f} English, {mandarin.alpha:.3f} Mandarin",)
    test = "bootstrap over raters and clips of Krippendorff's alpha, quadrants, nominal"
    return _tested(AGREE_LESS, test, "alpha", (effect,), (), notes)


# ------------------------------------------------------------------------------------------------


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a table for the screen, what is missing below it."""
    lines = [f"{'':4} {'verdict':17} {'effect':>8} {'95 % interval':>18} {'p':>9}  claim"]
    for one in verdicts:
        interval, effect, p = "", "", ""
        if one.effect is not None and one.low is not None and one.high is not None:
            effect, interval = f"{one.effect:+.1f}", f"[{one.low:+.1f}, {one.high:+.1f}]"
            if one.unit == "alpha":
                effect, interval = f"{one.effect:+.3f}", f"[{one.low:+.3f}, {one.high:+.3f}]"
        if one.p_corrected is not None:
            p = f"{one.p_corrected:.3f}"
        lines.append(
            f"{one.claim:4} {one.verdict:17} {effect:>8} {interval:>18} {p:>9}  {one.sentence}"
        )
        if one.missing:
            lines.append(f"{'':60}missing: {one.missing}; {one.command}")
        lines += [f"{'':60}{note}" for note in one.notes]
    sizes = ", ".join(f"{name} {size}" for name, size in FAMILY_SIZE.items())
    lines.append(f"p is corrected over families of fixed size, tested or not: {sizes}")
    if any(one.verdict == "undecided" for one in verdicts):
        lines.append("undecided is not “no effect”: `recitative power` says what could be seen")
    return "\n".join(lines)
