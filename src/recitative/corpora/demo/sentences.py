"""Sentences for the synthetic speakers, from two small grammars and word lists of our own.

`english.txt` and `mandarin.txt` have a line a kind of word. A Mandarin word is its characters, a
space, and its syllables with tone numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from recitative.corpora.base import Language

CLAUSES = (2, 3, 4)  # in an utterance
# English clauses take about 3 s, Mandarin ones 4 s.
CLAUSE_SHARES = {"eng": (0.4, 0.45, 0.15), "man": (0.65, 0.35, 0)}


@dataclass(frozen=True)
class Sentence:
    """What the transcript says, and what the synthesiser is given to read."""

    transcript: str  # as the original corpus writes it: upper case words; hanzi words
    spoken: str  # English text; syllables of pinyin with tone numbers


def draw_sentence(language: Language, rng: np.random.Generator, clauses: int = 0) -> Sentence:
    """Draw one utterance of so many clauses; 0: of two to four, about 5 to 12 s when read."""

    def pick(kind: str) -> str:
        words = _words(language)[kind]
        return words[int(rng.integers(len(words)))]

    draw_clause = _english_clause if language == "eng" else _mandarin_clause
    words: list[str] = []
    for clause in range(clauses or int(rng.choice(CLAUSES, p=CLAUSE_SHARES[language]))):
        if clause:
            words += [",", pick("joints")]
        words += draw_clause(pick, rng)
    if language == "eng":
        text = " ".join(words).replace(" ,", ",")
        return Sentence(text.replace(",", "").upper(), text.capitalize() + ".")
    pairs = [word.split(" ", 1) for word in words]  # a comma is a word without a reading
    return Sentence(
        " ".join(pair[0] for pair in pairs if len(pair) == 2),
        " ".join(pair[-1] for pair in pairs).replace(" ,", ",") + ".",
    )


@cache
def _words(language: Language) -> dict[str, list[str]]:
    path = Path(__file__).with_name({"eng": "english.txt", "man": "mandarin.txt"}[language])
    kinds = (line.split(": ") for line in path.read_text(encoding="utf-8").splitlines())
    return {kind: words.split(", ") for kind, words in kinds}


def _english_clause(pick: Callable[[str], str], rng: np.random.Generator) -> list[str]:
    """[time] the [adjective] person verb the [adjective] thing place."""
    clause = [pick("times")] if rng.random() < 0.4 else []
    clause += ["the", pick("adjectives")] if rng.random() < 0.5 else ["the"]
    clause += [pick("people"), pick("verbs"), pick("articles")]
    clause += [pick("adjectives")] if rng.random() < 0.5 else []
    clause += [pick("things")]
    return [*clause, pick("places")] if rng.random() < 0.8 else clause


def _mandarin_clause(pick: Callable[[str], str], rng: np.random.Generator) -> list[str]:
    """[time] person [with person] [at a place] verb thing, or: person finds thing adjective."""
    clause = [pick("times")] if rng.random() < 0.5 else []
    clause += [pick("people")]
    if rng.random() < 0.2:
        clause += ["觉得 jue2 de5", pick("places"), "的 de5", pick("things")]
        return [*clause, pick("degrees"), pick("adjectives")]
    if rng.random() < 0.4:
        clause += ["和 he2", pick("people"), "一起 yi4 qi3"]
    clause += ["在 zai4", pick("places"), pick("verbs"), "了 le5"]
    if rng.random() < 0.5:
        clause += [pick("adjectives"), "的 de5"]
    return [*clause, pick("things")]
