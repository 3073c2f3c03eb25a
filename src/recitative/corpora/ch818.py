"""CH-818: 818 clips of 30 s of Chinese popular music with numeric arousal and valence.

X. Hu and Y.-H. Yang, "Cross-dataset and cross-cultural music mood prediction: a case on Western and
Chinese pop songs", IEEE Transactions on Affective Computing, 2017. On request from its makers, for
research (the paper's Mandarin music).

Expected layout::

    CH818/ch818_mp3/<number>.mp3
    CH818/CH818_AV.csv      Songs (./1.mp3), Arousal, Valence; an artist; a column a rater

Every column's name is a parameter. Where there is no column Arousal or Valence, it is the mean over
the raters. Sliders run from -10 to 10; the quadrant's rule is in `quadrants.py`. Known faults: no
source states how a quadrant follows from the numbers (C15 in the protocol), and the classes are
unbalanced (.476, .157, .258, .109 of the clips).
"""

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from recitative.corpora.base import Clip, Problem, Rating, register_dataset
from recitative.corpora.layout import (
    Row,
    audio_files,
    group_name,
    group_ungrouped,
    missing_corpus,
    natural_key,
    read_table,
    require_columns,
    shown,
)
from recitative.corpora.quadrants import NumericConfig, label_quadrants

OneStar = Annotated[str, Field(pattern=r"^[^*]*\*[^*]*$")]


class CH818Config(NumericConfig):
    """CH-818: the names in its table, and its scale."""

    table: str = "CH818_AV.csv"
    audio_folder: str = "ch818_mp3"
    song_column: str = "Songs"  # a path below audio_folder
    arousal_column: str = "Arousal"
    valence_column: str = "Valence"
    artist_column: str = "Artist"  # may be absent: then each clip is its own group
    arousal_rater_pattern: OneStar = "Arousal_*"  # the star stands for the rater
    valence_rater_pattern: OneStar = "Valence_*"
    scale: tuple[float, float] = (-10.0, 10.0)


@register_dataset("ch818", CH818Config)
def iter_clips(root: Path, config: CH818Config) -> Iterator[Clip | Problem]:
    """Every song of the table with audio and numbers; the group is the artist."""
    table, folder = root / config.table, root / config.audio_folder
    audio = {posixpath.relpath(path, folder): path for path in audio_files(folder)}
    if not audio or not os.path.isfile(table):
        layout = f"{config.audio_folder}/<number>.mp3 and {config.table}"
        raise missing_corpus("CH-818", root, layout)
    rows, columns = read_table(table, (config.song_column,))
    raters = _find_raters(table, columns, config)

    clips: dict[str, Clip] = {}
    listed = set()
    for row in rows:
        song = posixpath.normpath(row.cells[config.song_column])
        listed.add(song)
        if song in clips:
            yield Problem(
                str(table), f"row {row.line}: {song} again; its first row counts", kept=True
            )
            continue
        if song not in audio:
            yield Problem(
                str(table), f"row {row.line}: {shown(song)} is not in {config.audio_folder}/"
            )
            continue
        ratings = []
        for rater in raters:
            rating = _rating(row, rater, raters[rater], config)
            if isinstance(rating, Rating):
                ratings.append(rating)
            elif rating:
                yield Problem(str(table), f"{rating}; this rating is left out", kept=True)
        try:
            arousal = _value(row, config.arousal_column, [r.arousal for r in ratings], config)
            valence = _value(row, config.valence_column, [r.valence for r in ratings], config)
        except ValueError as error:
            yield Problem(str(audio[song]), f"{config.table}, {error}")
            continue
        clips[song] = Clip(
            id=f"ch818/{PurePosixPath(song).with_suffix('')}",
            path=audio[song],
            group=group_name(row.cells.get(config.artist_column, "")),
            language=config.language,
            arousal=arousal,
            valence=valence,
            ratings=tuple(ratings),
        )
    for song in sorted(audio.keys() - listed, key=natural_key):
        yield Problem(str(audio[song]), f"no row in {config.table}")
    in_order = sorted(clips.values(), key=lambda clip: natural_key(clip.id))
    yield from group_ungrouped(label_quadrants(in_order, config), "artist", table)


def _find_raters(
    table: Path, columns: list[str], config: CH818Config
) -> dict[str, tuple[str, str]]:
    """Each rater's columns of arousal and valence, in the table's order.

    Raises:
        UserError: a rater has one column only, or neither raters nor the clips' own columns exist.
    """
    arousal = _match(columns, config.arousal_rater_pattern, config.arousal_column)
    valence = _match(columns, config.valence_rater_pattern, config.valence_column)
    needed = [
        pattern.replace("*", rater)
        for pattern, own, other in (
            (config.arousal_rater_pattern, arousal, valence),
            (config.valence_rater_pattern, valence, arousal),
        )
        for rater in other
        if rater not in own
    ]
    if not arousal and not valence:
        needed = [config.arousal_column, config.valence_column]
    require_columns(table, columns, needed)
    return {rater: (column, valence[rater]) for rater, column in arousal.items()}


def _match(columns: list[str], pattern: str, own: str) -> dict[str, str]:
    """The columns under `pattern` by what its star stands for; not the clips' `own` column."""
    head, tail = pattern.split("*")
    return {
        column[len(head) : len(column) - len(tail)]: column
        for column in columns
        if column != own
        and column.startswith(head)
        and column.endswith(tail)
        and len(column) > len(head) + len(tail)
    }


def _rating(
    row: Row, rater: str, columns: tuple[str, str], config: CH818Config
) -> Rating | str | None:
    """A rater's answer; None where both cells are empty; what is wrong where they are bad."""
    if not any(row.cells[column] for column in columns):
        return None
    try:
        arousal, valence = (row.number(column, *config.scale) for column in columns)
    except ValueError as error:
        return str(error)
    return Rating(rater, arousal, valence)


def _value(row: Row, column: str, ratings: list[float], config: CH818Config) -> float:
    """The clip's own number, or the mean over its raters where the table has no such column."""
    if column in row.cells:
        return row.number(column, *config.scale)
    if not ratings:
        raise ValueError(f"row {row.line}: no rating")
    return sum(ratings) / len(ratings)
