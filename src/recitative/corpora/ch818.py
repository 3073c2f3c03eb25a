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
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from recitative.corpora import layout
from recitative.corpora.base import Clip, Problem, Rating, register_dataset
from recitative.corpora.layout import Row, shown
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
    audio = {posixpath.relpath(path, folder): path for path in layout.audio_files(folder)}
    if not audio or not os.path.isfile(table):
        expected = f"{config.audio_folder}/<number>.mp3 and {config.table}"
        raise layout.missing_corpus("CH-818", root, expected)
    rows, columns = layout.read_table(table, (config.song_column,))
    raters = _find_raters(table, columns, config)

    clips: dict[str, Clip] = {}
    listed = set()
    for row in rows:
        song = posixpath.normpath(row.cells[config.song_column])
        listed.add(song)
        if song in clips:
            again = f"row {row.line}: {song} again; its first row counts"
            yield Problem(str(table), again, kept=True)
            continue
        if song not in audio:
            lost = f"row {row.line}: {shown(song)} is not in {config.audio_folder}/"
            yield Problem(str(table), lost)
            continue
        ratings = []
        for rater, answers in raters.items():
            if not any(row.cells[column] for column in answers):
                continue
            try:
                numbers = (row.number(column, *config.scale) for column in answers)
                ratings.append(Rating(rater, *numbers))
            except ValueError as error:
                yield Problem(str(table), f"{error}; this rating is left out", kept=True)
        try:
            arousal = _value(row, config.arousal_column, [r.arousal for r in ratings], config)
            valence = _value(row, config.valence_column, [r.valence for r in ratings], config)
        except ValueError as error:
            yield Problem(str(audio[song]), f"{config.table}, {error}")
            continue
        clips[song] = Clip(
            id=f"ch818/{PurePosixPath(song).with_suffix('')}",
            path=audio[song],
            group=layout.group_name(row.cells.get(config.artist_column, "")),
            language=config.language,
            arousal=arousal,
            valence=valence,
            ratings=tuple(ratings),
        )
    for song in sorted(audio.keys() - listed, key=layout.natural_key):
        yield Problem(str(audio[song]), f"no row in {config.table}")
    labelled = label_quadrants(layout.in_order(clips.values()), config)
    yield from layout.group_ungrouped(labelled, "artist", table)


def _find_raters(
    table: Path, columns: list[str], config: CH818Config
) -> dict[str, tuple[str, str]]:
    """Each rater's columns of arousal and valence, in the table's order.

    Raises:
        UserError: a rater has one column only, or neither raters nor the clips' own columns exist.
    """
    arousal = _match(columns, config.arousal_rater_pattern, config.arousal_column)
    valence = _match(columns, config.valence_rater_pattern, config.valence_column)
    needed = [config.arousal_rater_pattern.replace("*", r) for r in valence if r not in arousal]
    needed += [config.valence_rater_pattern.replace("*", r) for r in arousal if r not in valence]
    if not arousal and not valence:
        needed = [config.arousal_column, config.valence_column]
    layout.require_columns(table, columns, needed)
    return {rater: (column, valence[rater]) for rater, column in arousal.items()}


def _match(columns: list[str], pattern: str, own: str) -> dict[str, str]:
    """The columns under `pattern` by what its star stands for; not the clips' `own` column."""
    head, tail = map(re.escape, pattern.split("*"))
    found = {column: re.fullmatch(f"{head}(.+){tail}", column, re.DOTALL) for column in columns}
    return {star[1]: column for column, star in found.items() if star and column != own}


def _value(row: Row, column: str, ratings: list[float], config: CH818Config) -> float:
    """The clip's own number, or the mean over its raters where the table has no such column."""
    if column in row.cells:
        return row.number(column, *config.scale)
    if not ratings:
        raise ValueError(f"row {row.line}: no rating")
    return sum(ratings) / len(ratings)
