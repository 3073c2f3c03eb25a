"""One answer a question: it follows from the verdicts alone, and the page never says another."""

from itertools import product

import pytest

from recitative.evaluation.answers import MIXED, QUESTIONS, WORDS, answer, tags
from recitative.evaluation.claims import CLAIMS

USED = [claim for question in QUESTIONS for claim in question.compares]


def verdict(claim: str, word: str) -> dict[str, object]:
    tested = word != "not testable here"
    sign = {"supported": 1, "refuted": -1}.get(word, 0)
    return {
        "claim": claim, "verdict": word, "unit": "points of macro F",
        "effect": 8.0 * sign + 0.5 if tested else None,
        "low": 8.0 * sign - 3 if tested else None, "high": 8.0 * sign + 4 if tested else None,
    }  # fmt: skip


def every_combination() -> list[dict[str, str]]:
    return [dict(zip(USED, words, strict=True)) for words in product(WORDS, repeat=len(USED))]


def test_the_questions_stand_on_claims_that_there_are():
    assert set(USED) == {"1", "6a", "8", "10a", "10b"}
    assert set(USED) <= {claim.id for claim in CLAIMS}


@pytest.mark.parametrize(
    ("frozen", "full", "word"),
    [
        ("supported", "supported", "yes"),
        ("supported", "not testable here", "yes"),
        ("supported", "undecided", "mixed"),
        ("supported", "refuted", "mixed"),
        ("undecided", "undecided", "undecided"),
        ("not testable here", "undecided", "undecided"),
        ("refuted", "not testable here", "no, the opposite"),
        ("refuted", "undecided", "mixed"),
        ("not testable here", "not testable here", "not tested here"),
    ],
)
def test_an_answer_is_the_word_of_its_claims_where_they_agree(frozen, full, word):
    pretraining, *others = answer([verdict("10a", frozen), verdict("10b", full)])
    assert pretraining["verdict"] == word
    assert f"{WORDS[frozen]}" in pretraining["sentence"].split(";")[0]
    assert f"{WORDS[full]}" in pretraining["sentence"].split(";")[1]
    assert [one["verdict"] for one in others] == ["not tested here"] * 2  # nothing is there


def test_a_sentence_has_the_effect_with_its_interval():
    language = answer([verdict("1", "undecided") | {"effect": -0.6, "low": -4.6, "high": 3.4}])[1]
    assert language["sentence"] == (
        "Speech in the music’s own language, against the other language: undecided, "
        "−0.6 [−4.6, +3.4] points of macro F (claim 1)."
    )
    assert tags([language]) == {"answer.language": "undecided"}


def test_no_sentence_contradicts_its_word():
    """All 1024: a word of a decision stands in a sentence only where the answer has it."""
    decided = {WORDS["supported"], WORDS["refuted"]}
    for words in every_combination():
        for one in answer([verdict(claim, word) for claim, word in words.items()]):
            said = {WORDS[words[claim]] for claim in one["claims"]}
            assert {word for word in WORDS.values() if f": {word}" in one["sentence"]} == said
            if one["verdict"] != MIXED:
                assert said & decided <= {one["verdict"]}
            else:
                assert said & decided
                assert len(said - {"not tested here"}) > 1
