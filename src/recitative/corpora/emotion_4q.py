"""4Q-Emotion: 900 clips of 30 s with a quadrant each, mostly Western popular music.

R. Panda, R. Malheiro and R. P. Paiva, "Novel audio features for music emotion recognition", IEEE
Transactions on Affective Computing, 2018. For research; the clips are previews from AllMusic.
http://mir.dei.uc.pt/downloads.html (the paper's English music).

Expected layout::

    MER_audio_taffc_dataset/Q1 … Q4/<song>.mp3
    MER_audio_taffc_dataset/panda_dataset_taffc_annotations.csv   Song, Quadrant
    MER_audio_taffc_dataset/panda_dataset_taffc_metadata.csv      Song, Artist, … (optional)
    MER_audio_taffc_dataset/panda_dataset_taffc_ratings.csv       Song, rater, arousal, valence
                                                     (optional; ours, the original has no raters)

Known faults: the quadrants come from AllMusic's mood tags and were then validated by people, so
that there are no ratings a listener; several clips are by one artist, so the group is the artist.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from recitative.corpora import layout
from recitative.corpora.base import Clip, DatasetConfig, Problem, Rating, register_dataset
from recitative.corpora.layout import read_table, shown
from recitative.vocabulary import QUADRANTS

ANNOTATIONS = "panda_dataset_taffc_annotations.csv"
METADATA = "panda_dataset_taffc_metadata.csv"
RATINGS = "panda_dataset_taffc_ratings.csv"
LAYOUT = f"Q1, Q2, Q3, Q4/<song>.mp3 and {ANNOTATIONS} with the columns Song, Quadrant"


class Emotion4QConfig(DatasetConfig):
    """4Q-Emotion: it has no parameters of its own."""


@register_dataset("emotion_4q", Emotion4QConfig)
def iter_clips(root: Path, config: Emotion4QConfig) -> Iterator[Clip | Problem]:
    """Every annotated song with audio; the group is the artist."""
    audio = defaultdict(list)
    for quadrant in QUADRANTS:
        for path in layout.audio_files(root / quadrant):
            audio[path.stem].append(path)
    table = root / ANNOTATIONS
    if not audio or not table.is_file():
        raise layout.missing_corpus("4Q-Emotion", root, LAYOUT)
    artists: dict[str, str] = {}
    if (root / METADATA).is_file():
        # A name only has to be equal to itself: a byte that is no UTF-8 is no reason to stop.
        named, _ = read_table(root / METADATA, ("Song", "Artist"), encoding_errors="replace")
        artists = {row.cells["Song"]: layout.group_name(row.cells["Artist"]) for row in named}
    ratings: dict[str, list[Rating]] = defaultdict(list)
    if (root / RATINGS).is_file():
        for row in read_table(root / RATINGS, ("Song", "rater", "arousal", "valence"))[0]:
            try:
                rating = Rating(row.cells["rater"], row.number("arousal"), row.number("valence"))
                ratings[row.cells["Song"]].append(rating)
            except ValueError as error:
                left_out = f"{error}; this rating is left out"
                yield Problem(str(root / RATINGS), left_out, kept=True)

    clips: dict[str, Clip] = {}
    rows, _ = read_table(table, ("Song", "Quadrant"))
    for row in rows:
        song, quadrant = row.cells["Song"], row.cells["Quadrant"]
        at = f"row {row.line}:"
        if quadrant not in QUADRANTS:
            yield Problem(str(table), f"{at} Quadrant of {shown(song)} is {shown(quadrant)!r}")
        elif song in clips:
            yield Problem(str(table), f"{at} {song} again; its first row counts", kept=True)
        elif song not in audio:
            yield Problem(str(table), f"{at} {shown(song)} has no audio in Q1, Q2, Q3 or Q4")
        else:
            # A song that lies in two folders is taken from the one that its annotation names.
            path, *others = sorted(audio[song], key=lambda file: file.parent.name != quadrant)
            used = f"a second file of {song}; {path.relative_to(root)} is used"
            yield from (Problem(str(other), used) for other in others)
            if root / quadrant not in path.parents:
                reason = (
                    f"lies in {path.parent.name}, is annotated {quadrant}; the annotation counts"
                )
                yield Problem(str(path), reason, kept=True)
            clips[song] = Clip(
                id=f"emotion_4q/{song}",
                path=path,
                group=artists.get(song, ""),
                language=config.language,
                quadrant=quadrant,
                ratings=tuple(ratings[song]),
            )
    for song in sorted(audio.keys() - {row.cells["Song"] for row in rows}, key=layout.natural_key):
        yield Problem(str(audio[song][0]), f"no row in {ANNOTATIONS}")
    yield from layout.group_ungrouped(layout.in_order(clips.values()), "artist", root / METADATA)
