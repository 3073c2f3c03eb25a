"""The words of the experiment, defined once: languages, pairings, settings, quadrants and their signs."""

LANGUAGES = {"eng": "English", "man": "Mandarin", "mix": "mixed", "none": "no"}
SPEECH = ("eng", "man", "mix")  # what an encoder is pretrained on
MUSIC = ("eng", "man")  # what it is transferred to
PAIRINGS = tuple(f"{speech}2{music}" for music in MUSIC for speech in SPEECH)
SETTINGS = ("none", "cross", "intra", "mix")

# Russell (1980): the quadrants in the order of their codes 0..3, and the signs of arousal and valence.
SIGNS = {"Q1": (1, 1), "Q2": (1, -1), "Q3": (-1, -1), "Q4": (-1, 1)}
QUADRANTS = tuple(SIGNS)
POSITIVE = {  # codes of the quadrants whose arousal, whose valence is positive
    task: [code for code, signs in enumerate(SIGNS.values()) if signs[axis] > 0]
    for axis, task in enumerate(("arousal", "valence"))
}


def setting_of(pairing: str) -> str:
    """`intra`, `cross` or `mix`; `none` where nothing was pretrained."""
    speech, music = pairing.split("2")
    if speech in ("mix", "none"):
        return speech
    return "intra" if speech == music else "cross"
