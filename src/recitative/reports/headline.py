"""The answer in three sentences, from the verdicts on the claims: never more than they carry."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Claim = Mapping[str, Any]
WORDS = {
    "supported": "yes",
    "refuted": "no, the opposite",
    "undecided": "undecided",
    "not testable here": "not tested here",
}


def headline(claims: Sequence[Claim]) -> list[str]:
    """Three sentences: whether the language matters, whether speech helps, how much is decided.

    Args:
        claims: the content of claims.json; empty where nothing was judged yet.
    """
    by_id = {claim["claim"]: claim for claim in claims}
    if not {"1", "10a", "10b"} <= by_id.keys():
        return []
    counted = Counter(claim["verdict"] for claim in claims)
    verdicts = ", ".join(f"{counted[word]} {word}" for word in WORDS if counted[word])
    songs = by_id["1"]["songs"] or by_id["10a"]["songs"]
    seen = f" on {songs} test songs" if songs else ""
    said = _said(by_id["1"])
    return [
        "Does speech in the music’s own language teach more than speech in the other? "
        f"{said[0].upper()}{said[1:]} (claim 1).",
        "Does hearing speech at all help? With the encoder frozen, against a random encoder: "
        f"{_said(by_id['10a'])} (claim 10a); fully trained, against from scratch: "
        f"{_said(by_id['10b'])} (claim 10b).",
        f"Of {len(claims)} claims, judged{seen}: {verdicts}.",
    ]


def _said(claim: Claim) -> str:
    word = WORDS[claim["verdict"]]
    if claim["effect"] is None:
        return word
    effect, low, high = (
        f"{claim[name]:+.1f}".replace("-", "−") for name in ("effect", "low", "high")
    )
    return f"{word}: {effect} points of macro F [{low}, {high}]"
