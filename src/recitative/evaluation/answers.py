"""Three questions, each with one word and one sentence, from the verdicts on the claims.

This is the only place that answers a question. The report, the screen, the README, the tags of the
runs and those of the registered models all show what stands in ``build/claims/answers.json``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What each verdict on a claim says of its question.
WORDS = {
    "supported": "yes",
    "refuted": "no, the opposite",
    "undecided": "undecided",
    "not testable here": "not tested here",
}
MIXED = "mixed"
KEYS = ("id", "question", "verdict", "sentence", "claims")


@dataclass(frozen=True)
class Question:
    """A question, and the claims that answer it: what each compares, by its number."""

    id: str
    text: str
    compares: Mapping[str, str]


QUESTIONS = (
    Question(
        "pretraining",
        "Does pretraining on speech help?",
        {
            "10a": "encoder frozen, better than a random encoder",
            "10b": "fully trained, better than from scratch",
        },
    ),
    Question(
        "language",
        "Does the language matter: is the music’s own better?",
        {"1": "speech in the music’s language better than speech in the other"},
    ),
    Question(
        "encoder",
        "Does encoder or amount matter: are SCAE and more speech better?",
        {"6a": "SCAE better than CPC", "8": "more speech better than less"},
    ),
)


def answer(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of answers.json (`KEYS`), one a question, from those of claims.json.

    A question of several claims is answered with the word of those that were tested where they
    agree, otherwise with ``mixed``. A claim that is not among `verdicts` was not tested.
    """
    by_id = {verdict["claim"]: verdict for verdict in verdicts}
    return [
        {
            "id": question.id,
            "question": question.text,
            "verdict": _together([_word(by_id.get(claim)) for claim in question.compares]),
            "sentence": _sentence(question, by_id),
            "claims": list(question.compares),
        }
        for question in QUESTIONS
    ]


def _word(verdict: Mapping[str, Any] | None) -> str:
    return WORDS[verdict["verdict"] if verdict else "not testable here"]


def _together(words: Sequence[str]) -> str:
    untested = WORDS["not testable here"]
    tested = set(words) - {untested}
    if len(tested) > 1:
        return MIXED
    return tested.pop() if tested else untested


def _sentence(question: Question, by_id: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [
        f"{compared}: {_word(by_id.get(claim))}{_size(by_id.get(claim))} (claim {claim})"
        for claim, compared in question.compares.items()
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _size(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None or verdict["effect"] is None:
        return ""
    value, low, high = (
        f"{verdict[name]:+.1f}".replace("-", "−") for name in ("effect", "low", "high")
    )
    return f", {value} [{low}, {high}] {verdict['unit']}"


def tags(answers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """``answer.pretraining: undecided`` and so on: tags of a run or of a registered model."""
    return {f"answer.{one['id']}": one["verdict"] for one in answers}
