"""The whole of Experiment 1 from its parts: how many segments, times what a segment costs.

The released pipeline trains 100 epochs everywhere, recomputes the frozen encoder in every epoch, has
a frozen phase before each `full` beside that of `feature_extraction`, and shows CPC every sequence as
a true and as a false example, each encoded. Ours encodes each once.
"""

from dataclasses import dataclass

SPEECH_HOURS, MUSIC_SONGS = 3, 360  # 3 h of songs of 30 s
SEGMENTS_AN_HOUR, SEGMENTS_A_SONG = 6840, 61
EPOCHS, REPEATS, PAIRINGS, LANGUAGES = 100, 4, 6, 3


@dataclass(frozen=True)
class Amounts:
    """Segments of the parts."""

    speech_train: float = 0.85 * SPEECH_HOURS * SEGMENTS_AN_HOUR
    speech_validation: float = 0.15 * SPEECH_HOURS * SEGMENTS_AN_HOUR
    music: float = MUSIC_SONGS * SEGMENTS_A_SONG
    music_train: float = 0.70 * 0.85 * MUSIC_SONGS * SEGMENTS_A_SONG
    music_validation: float = 0.70 * 0.15 * MUSIC_SONGS * SEGMENTS_A_SONG


Hours = dict[str, float]


def reference(parts: dict[str, float], norm: str) -> Hours:
    """CPU hours of the released pipeline, a line a phase; `parts`: CPU ms a segment."""
    n, hours = Amounts(), {}
    for arch, shown in (("scae", 1), ("cpc", 2)):
        step, test = (parts[f"{arch} {norm} keras{kind}"] for kind in ("", " test"))
        epoch = shown * (n.speech_train * step + n.speech_validation * test)
        hours[f"{arch} pretraining"] = LANGUAGES * EPOCHS * epoch
        test = n.music_validation * parts[f"{arch} {norm} keras transfer test"]
        frozen = n.music_train * parts[f"{arch} {norm} keras frozen"] + test
        released = n.music_train * parts[f"{arch} {norm} keras finetune"] + test
        hours[f"{arch} frozen phase"] = 2 * PAIRINGS * REPEATS * EPOCHS * frozen
        hours[f"{arch} finetune phase"] = PAIRINGS * REPEATS * EPOCHS * released
    return {name: milliseconds / 3.6e6 for name, milliseconds in hours.items()}


def ours(parts: dict[str, float], norm: str, epochs: dict[str, float] | None = None) -> Hours:
    """CPU hours of ours; `epochs` a phase (`pretraining`, `frozen`, `released`), 100 where not said."""
    n, hours = Amounts(), {}
    trained = {"pretraining": EPOCHS, "frozen": EPOCHS, "finetune": EPOCHS} | (epochs or {})
    for arch in ("scae", "cpc"):
        cost = {
            kind: parts[f"{arch} {norm} {kind}"]
            for kind in ("ours", "test", "encode", "heads", "heads test", "finetune", "finetune test")
        }  # fmt: skip
        epoch = n.speech_train * cost["ours"] + n.speech_validation * cost["test"]
        hours[f"{arch} pretraining"] = LANGUAGES * trained["pretraining"] * epoch
        frozen = n.music_train * cost["heads"] + n.music_validation * cost["heads test"]
        frozen = PAIRINGS * REPEATS * trained["frozen"] * frozen
        hours[f"{arch} frozen phase"] = frozen + PAIRINGS * n.music * cost["encode"]
        released = n.music_train * cost["finetune"] + n.music_validation * cost["finetune test"]
        hours[f"{arch} finetune phase"] = PAIRINGS * REPEATS * trained["finetune"] * released
    return {name: milliseconds / 3.6e6 for name, milliseconds in hours.items()}
