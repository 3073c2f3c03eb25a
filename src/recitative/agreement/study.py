"""The listening study behind the paper's Section 4.1, from its own table.

Gómez-Cañón, Cano, Herrera and Gómez, "Joyful for you and tender for us: the influence of individual
characteristics and language on emotion labeling and classification", ISMIR 2020. 126 listeners
rated 22 excerpts on 11 emotions from 1 to 5; agreement is ordinal Krippendorff's alpha over
listeners by excerpts, for each emotion:

- `by_language`: on all 22 excerpts, for each mother tongue and for all listeners;
- `base`: on the 20 excerpts with lyrics, for all listeners and answers;
- `by_trait`: on the same 20, for the listeners (or the answers) above and below the
  middle of a trait. The study's text says above 3 and below 3, its printed numbers include the
  neutral 3 in both; both readings are given.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from recitative.agreement.alpha import Level
from recitative.agreement.consensus import Classes
from recitative.agreement.ratings import Ratings, read_ratings
from recitative.agreement.table import Row, align, analyse, format_table
from recitative.evaluation.metrics import LABELS

EMOTIONS = (
    "anger", "bitter", "fear", "joy", "peace", "power", "sad", "surprise", "tender", "tension",
    "transcendence",
)  # fmt: skip
LANGUAGES = ("english", "spanish", "mandarin", "german")
INSTRUMENTAL = ("anger_2", "fear_1")  # the two excerpts without lyrics
NEUTRAL = 3  # the middle of the answers from 1 to 5
ANSWERS = ("preference", "familiarity", "understanding")  # one for each listener and excerpt
# Goldsmiths sophistication, one score for each listener, split at the population's mean.
SOPHISTICATION = {"mus_train": 26.52, "emotions": 34.66, "mus_soph": 81.58}
# The study's own quadrants of the emotions, by code of metrics.LABELS: Q1 A+V+ to Q4 A-V+.
QUADRANT_EMOTIONS = (
    ("joy", "power", "surprise"),
    ("anger", "fear", "tension"),
    ("bitter", "sad"),
    ("peace", "tender", "transcendence"),
)
LEVEL: Level = "ordinal"


def traits() -> Iterator[tuple[str, Row]]:
    """The 18 sides: three answers above and below, with 3 and without, and three scores.

    A filter, and what its rows say of it; ``neutral`` is None where no score is neutral.
    """
    for name in ANSWERS:
        for neutral, above, below in ((True, ">=", "<="), (False, ">", "<")):
            yield f"{name}{above}{NEUTRAL}", {"trait": name, "side": "above", "neutral": neutral}
            yield f"{name}{below}{NEUTRAL}", {"trait": name, "side": "below", "neutral": neutral}
    for name, split in SOPHISTICATION.items():
        yield f"{name}>{split}", {"trait": name, "side": "above", "neutral": None}
        yield f"{name}<{split}", {"trait": name, "side": "below", "neutral": None}


def read(path: Path, filters: Sequence[str] = (), by: str | None = None) -> Ratings:
    """The study's table: a listener is a language and a user, a unit is an excerpt.

    Raises:
        UserError: as `read_ratings`.
    """
    return read_ratings(
        path, ["language", "user"], "excerpt", EMOTIONS,
        filters=filters, by=by, scale=(1, 5), level=LEVEL,
    )  # fmt: skip


def by_language(path: Path, *, seed: int, draws: int = 1000, jobs: int = 1) -> list[Row]:
    """Alpha by emotion and language: the study's table.

    55 rows as `analyse` gives them, languages in the study's order and ``all`` last; the intervals
    resample listeners and excerpts, 0 draws for none.
    """
    ratings = read(path, by="language")
    rows = analyse(ratings, LEVEL, seed=seed, draws=draws, jobs=jobs)
    order = (*LANGUAGES, "all")
    return sorted(rows, key=lambda row: order.index(row["language"]))


def by_trait(path: Path, *, seed: int, draws: int = 1000, jobs: int = 1) -> list[Row]:
    """Alpha by emotion and listener trait, on the 20 excerpts with lyrics; draws as in `by_language`.

    198 rows as `analyse` gives them, in the order of `traits`, with ``trait``, ``side``, ``neutral``
    and ``answers``: how many pairs of listener and excerpt the condition keeps.
    """
    rows = []
    for condition, kept in traits():
        rows += _with_lyrics(path, [condition], kept, seed, draws, jobs)
    return rows


def base(path: Path, *, seed: int, draws: int = 1000, jobs: int = 1) -> list[Row]:
    """The study's base row: all listeners on the 20 excerpts with lyrics, no filter; as `by_trait`."""
    kept: Row = {"trait": "none", "side": None, "neutral": None}
    return _with_lyrics(path, [], kept, seed, draws, jobs)


def _with_lyrics(
    path: Path, conditions: Sequence[str], kept: Row, seed: int, draws: int, jobs: int
) -> list[Row]:
    ratings = read(path, [*conditions, *(f"excerpt!={name}" for name in INSTRUMENTAL)])
    kept["answers"] = len(ratings.rater)
    return [row | kept for row in analyse(ratings, LEVEL, seed=seed, draws=draws, jobs=jobs)]


def format_study(languages: Sequence[Row], by_traits: Sequence[Row], without: Sequence[Row]) -> str:
    """All tables as text: rows of `by_language`, of `by_trait` and of `base`.

    Below those by trait, how many answers and listeners are in a column.
    """
    title = "Agreement by emotion and mother tongue, all 22 excerpts"
    parts = [f"{title}\n\n{format_table(languages)}"]
    sung = "the 20 excerpts with lyrics"
    parts.append(_by_filter(f"Agreement of all listeners, {sung}; no filter", without))
    for neutral, heading in (
        (True, "neutral answers included, as the study's numbers are"),
        (False, "strictly above and below, as the study's text says"),
        (None, "musical sophistication, split at the population's mean"),
    ):
        rows = [row for row in by_traits if row["neutral"] is neutral]
        parts.append(_by_filter(f"Agreement by listener trait, {sung}; {heading}", rows))
    return "\n\n".join(parts)


def _by_filter(title: str, rows: Sequence[Row]) -> str:
    """A line an emotion, a column a condition of the listeners."""
    columns: dict[str, dict[str, Row]] = {}
    for row in rows:
        columns.setdefault(row["filter"], {})[row["emotion"]] = row
    first = [column[EMOTIONS[0]] for column in columns.values()]
    named = (
        row["filter"].split(" and ")[0] if row["trait"] != "none" else "no filter" for row in first
    )
    cells = [["", *named]]
    for emotion in EMOTIONS:
        alphas = [column[emotion]["alpha"] for column in columns.values()]
        cells.append([emotion, *("undefined" if a is None else f"{a:.3f}" for a in alphas)])
    cells.append(["answers", *(str(row["answers"]) for row in first)])
    cells.append(["listeners", *(str(row["raters"]) for row in first)])
    return "\n".join([title, "", *align(cells)])


def quadrant_classes(ratings: Ratings) -> Classes:
    """Each listener's quadrant of each excerpt: the one whose emotions got the highest mean rating.

    A shared first place is no quadrant (code -1).
    """
    means = np.column_stack(
        [np.mean([ratings.values[e] for e in emotions], axis=0) for emotions in QUADRANT_EMOTIONS]
    )
    first = np.isclose(means, means.max(axis=1, keepdims=True), rtol=0, atol=1e-9)
    code = np.where(first.sum(axis=1) == 1, means.argmax(axis=1), -1)
    return Classes(ratings.rater, ratings.unit, code, LABELS["quadrant"])
