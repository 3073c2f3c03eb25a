"""tava: 22 speakers say one English sentence in 16 affects, rated by many listeners.

Valence, arousal and dominance are means over some 150 listeners, in [-1, 1]. The corpus lies in one
folder with one table; licence AGPL-3.0.

Expected layout::

    tava/audio/…/<file>.flac
    tava/labels.csv      file, speaker, affect, meanValence, meanArousal

`labels` decides where a quadrant comes from: the signs of the ratings, or the affect that the speaker
was asked for (then by the table `emotions`). With `ratings` the affect may be empty; with `categories`
the ratings may be.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from recitative.corpora import layout
from recitative.corpora.base import Clip, Problem, register_dataset
from recitative.corpora.layout import Row, shown
from recitative.corpora.quadrants import NumericConfig, label_quadrants

TABLE = "labels.csv"
COLUMNS = ("file", "speaker", "affect", "meanValence", "meanArousal")
SCALE = (-1.0, 1.0)


class TavaConfig(NumericConfig):
    """tava."""

    labels: Literal["ratings", "categories"] = "ratings"


@register_dataset("tava", TavaConfig)
def iter_clips(root: Path, config: TavaConfig) -> Iterator[Clip | Problem]:
    """Every row with audio and a label; the group is the speaker."""
    audio = {path.name: path for path in layout.audio_files(root / "audio")}
    table = root / TABLE
    if not audio or not table.is_file():
        raise layout.missing_corpus("tava", root, f"audio/<file>.flac and {TABLE}")
    by_category = config.labels == "categories"
    clips: dict[str, Clip] = {}
    rows, _ = layout.read_table(table, COLUMNS)
    for row in rows:
        file, affect, at = row.cells["file"], row.cells["affect"].lower(), f"row {row.line}:"
        if file not in audio:
            yield Problem(str(table), f"{at} {shown(file)} is not in audio/")
            continue
        if file in clips:
            yield Problem(str(table), f"{at} {file} again; its first row counts", kept=True)
            continue
        try:
            arousal, valence = _rating(row, "meanArousal"), _rating(row, "meanValence")
        except ValueError as error:
            yield Problem(str(audio[file]), f"{TABLE}, {error}")
            continue
        if not affect if by_category else arousal is None or valence is None:
            lacking = "no affect" if by_category else "no ratings"
            yield Problem(str(audio[file]), f"{TABLE}, {at} {lacking} (labels: {config.labels})")
            continue
        clips[file] = Clip(
            id=f"tava/{audio[file].stem}",
            path=audio[file],
            group=layout.group_name(row.cells["speaker"]),
            language=config.language,
            emotion=affect if by_category else None,
            arousal=arousal,
            valence=valence,
        )
    for file in sorted(audio.keys() - {row.cells["file"] for row in rows}, key=layout.natural_key):
        yield Problem(str(audio[file]), f"no row in {TABLE}")
    labelled: Iterator[Clip | Problem] = iter(layout.in_order(clips.values()))
    if not by_category:
        labelled = label_quadrants(layout.in_order(clips.values()), config)
    yield from layout.group_ungrouped(labelled, "speaker", table)


def _rating(row: Row, column: str) -> float | None:
    return row.number(column, *SCALE) if row.cells[column] else None
