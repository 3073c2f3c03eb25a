"""One answer a question: it follows from the verdicts alone, and the page never says another."""

import re
from collections import Counter
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from recitative.evaluation.answers import MIXED, QUESTIONS, WORDS, answer, tags
from recitative.evaluation.claims import CLAIMS, HEADS
from recitative.reports.page import environment
from recitative.reports.results import Cell, Scores
from recitative.reports.summary import summary_block, summary_text

HEAD = ("claim", "sentence", "source")
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
        "Speech in the music’s language better than speech in the other: undecided, "
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


def test_page_screen_and_readme_say_the_same_of_every_combination():
    """All 1024, on the parts of the page that word a verdict, on the screen and in the README."""
    scores = {("quadrant", "macro"): Scores(0.5, 0.4, 0.6)}
    cells = [Cell("demo", "scae", "full", "eng2eng", 20, 2, scores)]
    pages = [environment().get_template(f"{part}.html.j2") for part in ("answers", "claims")]
    rest = {
        "test": "",
        "notes": (),
        "missing": None,
        "command": None,
        "p_corrected": 0.5,
        "run_ids": (),
    }
    for words in every_combination():
        claims = [
            verdict(claim, word) | rest | dict(zip(HEAD, HEADS[claim], strict=True))
            for claim, word in words.items()
        ]
        told = answer(claims)
        content = SimpleNamespace(answers=told, claims=claims)
        counted = Counter(words.values())
        answers, table = (
            page.render(content=content, counted=counted, compare=None) for page in pages
        )
        screen = summary_text(cells, [], False, Path("index.html"), None, told)
        readme = summary_block(cells, [], False, {}, told, "")
        shown = re.findall(r'<h2>(.*?)</h2>\n<p class="word">(.*?)</p>\n<p>(.*?)</p>', answers)
        for one, (question, word, sentence) in zip(told, shown, strict=True):
            assert (question, word.lower()) == (one["question"], one["verdict"])
            assert sentence == one["sentence"]
            assert f"{one['question']} {one['verdict'].upper()}\n" in screen
            assert f"| {one['question']} | {one['verdict']} |" in readme
            if one["verdict"] in ("undecided", "not tested here"):
                assert "yes" not in sentence
                assert "no, the" not in sentence
        rows = re.findall(r'<th scope="row">(\w+)</th>.*?<b>(.*?)</b>', table)
        assert dict(rows) == words
