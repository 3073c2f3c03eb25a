"""The claims of the paper, as contrasts between cells that a test can decide.

Gómez-Cañón et al. (ICASSP 2021) and its predecessor (EUSIPCO 2020); docs/protocols.md has the rows C1
to C22. Each claim says which pairs of cells (a, b) it is about; `verdicts.judge` decides it. A claim
with several parts holds when every part does.

The paper's Experiments 1 and 2 are 3 and 30 hours of speech. Here they are the experiments with the
least and the most speech; where there is only one, it stands for whichever a claim asks for, and
the verdict says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Literal

from recitative.evaluation.comparisons import NO_PRETRAINING
from recitative.files import read_csv
from recitative.vocabulary import MUSIC, SPEECH

FE, FULL = "feature_extraction", "full"
ARCHS = ("scae", "cpc")
OTHER = {"eng": "man", "man": "eng"}
FIRST, SECOND = "1", "2"  # the paper's experiments


@dataclass(frozen=True, order=True)
class CellName:
    """One cell of the matrix: which speech (or `none`) to which music, in which way."""

    experiment: str
    arch: str
    mode: str
    pairing: str

    @property
    def music(self) -> str:
        """Language of the music."""
        return self.pairing.split("2")[1]

    def __str__(self) -> str:
        return f"{self.pairing} {self.arch} {self.mode} (experiment {self.experiment})"


Pair = tuple[CellName, CellName]


@dataclass(frozen=True)
class Part:
    """One effect: the mean over music sets of the mean difference over pairs."""

    name: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Claim:
    """What is claimed, and of which cells."""

    id: str  # its number in the list of claims, with a letter where one sentence claims two things
    sentence: str  # the claim
    source: str  # where it is said
    # `greater`: every part's effect is above 0; `similar`: within 3 points of `expected`
    kind: Literal["greater", "similar"]
    # from the labels of Experiments 1 and 2 to each part
    made: Sequence[Callable[[Mapping[str, str]], Part]]
    strict: bool  # whether every pair is needed; else the mean goes over those that are there
    expected: float  # points that `similar` compares with

    def parts(self, labels: Mapping[str, str]) -> list[Part]:
        """The parts, from the labels of Experiments 1 and 2."""
        return [make(labels) for make in self.made]


Labels = Mapping[str, str]


def _part(
    name: str, a: Mapping[str, str], b: Mapping[str, str], **over: Sequence[str]
) -> Callable[[Labels], Part]:
    """Cell a less cell b, once for each combination of all in which they do not differ.

    `a` and `b` set experiment, arch, mode or speech of a cell; the speech `own` is in the language of
    the music, `other` in the other one. `over` has the values of the rest, where not every one.
    """
    every = {"experiment": (FIRST, SECOND), "arch": ARCHS, "mode": (FE, FULL)}
    values = every | {"music": MUSIC, "speech": SPEECH} | over
    free = {key: values[key] for key in values if not (key in a and key in b)}

    def cell(
        labels: Labels, experiment: str, arch: str, mode: str, music: str, speech: str
    ) -> CellName:
        speech = {"own": music, "other": OTHER[music]}.get(speech, speech)
        return CellName(labels[experiment], arch, mode, f"{speech}2{music}")

    def part(labels: Labels) -> Part:
        shared = [dict(zip(free, chosen, strict=True)) for chosen in product(*free.values())]
        pairs = ((cell(labels, **{**one, **a}), cell(labels, **{**one, **b})) for one in shared)
        return Part(name, tuple(dict.fromkeys(pairs)))  # the two experiments may be one

    return part


def _alike(arch: str, experiment: str) -> list[Callable[[Labels], Part]]:
    return [
        _part(
            f"{a}2{music} − {b}2{music}", {"speech": a}, {"speech": b},
            experiment=[experiment], arch=[arch], mode=[FULL], music=[music],
        )
        for music in MUSIC
        for a, b in combinations(SPEECH, 2)
    ]  # fmt: skip


def _mix_best(arch: str) -> list[Callable[[Labels], Part]]:
    where = {"experiment": [SECOND], "arch": [arch], "mode": [FE]}
    return [
        _part("mix − intra", {"speech": "mix"}, {"speech": "own"}, **where),
        _part("mix − cross", {"speech": "mix"}, {"speech": "other"}, **where),
    ]


def _pretrained(mode: str) -> list[Callable[[Labels], Part]]:
    control = NO_PRETRAINING[mode]
    return [_part(f"{mode} − {control}", {"mode": mode}, {"mode": control, "speech": "none"})]


_SCAE, _CPC = {"arch": "scae"}, {"arch": "cpc"}
# How each claim of claims.csv about the matrix becomes pairs of cells.
_PARTS = {
    "1": [_part("intra − cross", {"speech": "own"}, {"speech": "other"})],
    "2": [
        _part(
            "man2man feature_extraction − mix2man full",
            {"speech": "man", "mode": FE},
            {"speech": "mix", "mode": FULL},
            experiment=[FIRST], arch=["scae"], music=["man"],
        )
    ],
    "3": [
        _part(
            f"mix2eng − {speech}2eng", {"speech": "mix"}, {"speech": speech},
            experiment=[FIRST], arch=["scae"], mode=[FE], music=["eng"],
        )
        for speech in ("eng", "man")
    ],
    "4a": _alike("scae", FIRST),
    "4b": _alike("scae", SECOND),
    "4c": _alike("cpc", SECOND),
    "5": [
        _part(
            f"cross − {setting}", {"speech": "other"}, {"speech": speech},
            experiment=[FIRST], arch=["cpc"],
        )
        for setting, speech in (("intra", "own"), ("mix", "mix"))
    ],
    "6a": [_part("SCAE − CPC", _SCAE, _CPC)],
    "6b": [
        _part("SCAE − CPC, feature_extraction", _SCAE, _CPC, experiment=[SECOND], mode=[FE])
    ],
    "7a": _mix_best("scae"),
    "7b": _mix_best("cpc"),
    "8": [
        _part("more speech − less speech", {"experiment": SECOND}, {"experiment": FIRST})
    ],
    "10a": _pretrained(FE),
    "10b": _pretrained(FULL),
}  # fmt: skip
_ROWS = {row["claim"]: row for row in read_csv(Path(__file__).with_suffix(".csv"))}
HEADS = {row["claim"]: (row["claim"], row["sentence"], row["source"]) for row in _ROWS.values()}
CLAIMS = tuple(
    Claim(
        *HEADS[name], "greater" if _ROWS[name]["kind"] == "greater" else "similar", parts,
        strict=_ROWS[name]["strict"] == "1", expected=float(_ROWS[name]["expected"]),
    )
    for name, parts in _PARTS.items()
)  # fmt: skip
FASTER, AGREE_LESS, TWO_FUTURES, FOUR_PAST = (HEADS[name] for name in ("9", "11", "12a", "12b"))
