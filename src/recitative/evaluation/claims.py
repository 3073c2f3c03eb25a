"""The claims of the paper, as contrasts between cells that a test can decide.

Gómez-Cañón et al. (ICASSP 2021) and its predecessor (EUSIPCO 2020); docs/protocols.md has the rows C1
to C22. Each claim says which pairs of cells (a, b) it is about; `verdicts.judge` decides it. A claim
with several parts holds when every part does.

The paper's Experiments 1 and 2 are 3 and 30 hours of speech. Here they are the experiments with the
least and the most speech; where there is only one, it stands for whichever a claim asks for, and
the verdict says so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from recitative.evaluation.comparisons import NO_PRETRAINING
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
    """What is claimed, and of which cells.

    Attributes:
        id: its number in the list of claims, with a letter where one sentence claims two things.
        sentence: the claim.
        source: where it is said.
        kind: `greater`: every part's effect is above 0; `similar`: within 3 points of `expected`.
        parts: from the labels of Experiments 1 and 2 to the parts.
        strict: whether every pair is needed; else the mean goes over those that are there.
        expected: points that `similar` compares with.
    """

    id: str
    sentence: str
    source: str
    kind: Literal["greater", "similar"]
    parts: Callable[[Mapping[str, str]], list[Part]]
    strict: bool = True
    expected: float = 0.0


def _cells(experiment: str, arch: str, mode: str) -> Callable[[str, str], CellName]:
    return lambda speech, music: CellName(experiment, arch, mode, f"{speech}2{music}")


def _everything(labels: Mapping[str, str]) -> Iterator[Callable[[str, str], CellName]]:
    """Every experiment, arch and mode there may be."""
    for experiment in dict.fromkeys(labels.values()):
        for arch in ARCHS:
            for mode in (FE, FULL):
                yield _cells(experiment, arch, mode)


def _intra_cross(labels: Mapping[str, str]) -> list[Part]:
    pairs = tuple(
        (cell(music, music), cell(OTHER[music], music))
        for cell in _everything(labels)
        for music in MUSIC
    )
    return [Part("intra − cross", pairs)]


def _mandarin_pair(labels: Mapping[str, str]) -> list[Part]:
    extracted, full = (_cells(labels[FIRST], "scae", mode) for mode in (FE, FULL))
    return [
        Part(
            "man2man feature_extraction − mix2man full",
            ((extracted("man", "man"), full("mix", "man")),),
        )
    ]


def _mix_on_english(labels: Mapping[str, str]) -> list[Part]:
    cell = _cells(labels[FIRST], "scae", FE)
    return [
        Part(f"mix2eng − {speech}2eng", ((cell("mix", "eng"), cell(speech, "eng")),))
        for speech in ("eng", "man")
    ]


def _alike(arch: str, experiment: str) -> Callable[[Mapping[str, str]], list[Part]]:
    def parts(labels: Mapping[str, str]) -> list[Part]:
        cell = _cells(labels[experiment], arch, FULL)
        return [
            Part(f"{a}2{music} − {b}2{music}", ((cell(a, music), cell(b, music)),))
            for music in MUSIC
            for a, b in (("eng", "man"), ("eng", "mix"), ("man", "mix"))
        ]

    return parts


def _cpc_cross(labels: Mapping[str, str]) -> list[Part]:
    cells = [_cells(labels[FIRST], "cpc", mode) for mode in (FE, FULL)]
    rivals = {"intra": {m: m for m in MUSIC}, "mix": dict.fromkeys(MUSIC, "mix")}
    return [
        Part(
            f"cross − {setting}",
            tuple(
                (cell(OTHER[music], music), cell(speech[music], music))
                for cell in cells
                for music in MUSIC
            ),
        )
        for setting, speech in rivals.items()
    ]


def _scae_cpc(labels: Mapping[str, str]) -> list[Part]:
    pairs = tuple(
        (
            _cells(experiment, "scae", mode)(speech, music),
            _cells(experiment, "cpc", mode)(speech, music),
        )
        for experiment in dict.fromkeys(labels.values())
        for mode in (FE, FULL)
        for music in MUSIC
        for speech in SPEECH
    )
    return [Part("SCAE − CPC", pairs)]


def _scae_cpc_extracted(labels: Mapping[str, str]) -> list[Part]:
    scae, cpc = (_cells(labels[SECOND], arch, FE) for arch in ARCHS)
    pairs = tuple((scae(speech, music), cpc(speech, music)) for music in MUSIC for speech in SPEECH)
    return [Part("SCAE − CPC, feature_extraction", pairs)]


def _mix_best(arch: str) -> Callable[[Mapping[str, str]], list[Part]]:
    def parts(labels: Mapping[str, str]) -> list[Part]:
        cell = _cells(labels[SECOND], arch, FE)
        return [
            Part("mix − intra", tuple((cell("mix", m), cell(m, m)) for m in MUSIC)),
            Part("mix − cross", tuple((cell("mix", m), cell(OTHER[m], m)) for m in MUSIC)),
        ]

    return parts


def _more_speech(labels: Mapping[str, str]) -> list[Part]:
    pairs = tuple(
        (
            _cells(labels[SECOND], arch, mode)(speech, music),
            _cells(labels[FIRST], arch, mode)(speech, music),
        )
        for arch in ARCHS
        for mode in (FE, FULL)
        for music in MUSIC
        for speech in SPEECH
    )
    return [Part("more speech − less speech", pairs)]


def _pretrained(mode: str) -> Callable[[Mapping[str, str]], list[Part]]:
    control = NO_PRETRAINING[mode]

    def parts(labels: Mapping[str, str]) -> list[Part]:
        pairs = tuple(
            (
                _cells(experiment, arch, mode)(speech, music),
                _cells(experiment, arch, control)("none", music),
            )
            for experiment in dict.fromkeys(labels.values())
            for arch in ARCHS
            for music in MUSIC
            for speech in SPEECH
        )
        return [Part(f"{mode} − {control}", pairs)]

    return parts


TABLE_1, TABLE_2 = "ICASSP 2021, Experiment 1 (Table 1)", "ICASSP 2021, Experiment 2 (Table 2)"

CLAIMS = (
    Claim(
        "1",
        "Pretraining on speech in the music's own language beats pretraining on the other language.",
        "ICASSP 2021, its hypothesis, which it gives up",
        "greater",
        _intra_cross,
        strict=False,
    ),
    Claim(
        "2",
        "On Mandarin music, SCAE pretrained on Mandarin with the encoder frozen is similar to SCAE "
        "pretrained on both languages and fully trained.",
        TABLE_1,
        "similar",
        _mandarin_pair,
    ),
    Claim(
        "3",
        "On English music, SCAE with the encoder frozen is better after both languages than after "
        "either one.",
        TABLE_1,
        "greater",
        _mix_on_english,
    ),
    Claim(
        "4a",
        "Fully trained, SCAE's pairings are all alike: what was pretrained is forgotten "
        "(Experiment 1).",
        TABLE_1,
        "similar",
        _alike("scae", FIRST),
    ),
    Claim(
        "4b",
        "Fully trained, SCAE's pairings are all alike (Experiment 2).",
        TABLE_2,
        "similar",
        _alike("scae", SECOND),
    ),
    Claim(
        "4c",
        "Fully trained, CPC's pairings are all alike (Experiment 2).",
        TABLE_2,
        "similar",
        _alike("cpc", SECOND),
    ),
    Claim("5", "CPC is best in the cross-language settings.", TABLE_1, "greater", _cpc_cross),
    Claim(
        "6a",
        "CPC is worse than SCAE.",
        "ICASSP 2021, Experiments 1 and 2",
        "greater",
        _scae_cpc,
        strict=False,
    ),
    Claim(
        "6b",
        "With the encoder frozen, CPC is about 10 points worse than SCAE.",
        TABLE_2,
        "similar",
        _scae_cpc_extracted,
        expected=10.0,
    ),
    Claim(
        "7a",
        "With the encoder frozen, SCAE is best pretrained on both languages.",
        TABLE_2,
        "greater",
        _mix_best("scae"),
    ),
    Claim(
        "7b",
        "With the encoder frozen, CPC is best pretrained on both languages.",
        TABLE_2,
        "greater",
        _mix_best("cpc"),
    ),
    Claim(
        "8",
        "30 hours of speech beat 3 hours.",
        "ICASSP 2021, Experiment 2 against Experiment 1",
        "greater",
        _more_speech,
        strict=False,
    ),
    Claim(
        "10a",
        "With the encoder frozen, pretraining on speech beats a random encoder.",
        "never tested by the paper; EUSIPCO 2020 says that pretraining helps (C22)",
        "greater",
        _pretrained(FE),
        strict=False,
    ),
    Claim(
        "10b",
        "Fully trained, pretraining on speech beats training from scratch.",
        "never tested by the paper; EUSIPCO 2020 says that pretraining helps (C22)",
        "greater",
        _pretrained(FULL),
        strict=False,
    ),
)
FASTER = ("9", "CPC converges faster than SCAE.", "ICASSP 2021, Experiments 1 and 2 (C17)")
AGREE_LESS = (
    "11",
    "The listeners of the Mandarin music agree less than those of the English music.",
    "ICASSP 2021, Section 4.1",
)
TWO_FUTURES = (
    "12a",
    "Predicting 2 future segments beats predicting 4.",
    "ICASSP 2021, settings of CPC (2 and 4 were tried)",
)
FOUR_PAST = (
    "12b",
    "4 past segments beat 2.",
    "ICASSP 2021, settings of CPC (2 and 4 were tried)",
)
