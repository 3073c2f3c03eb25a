"""The names and tables of the four original corpora, as the embedded one writes them."""

from collections.abc import Sequence
from pathlib import Path

from recitative.corpora.base import Language, Rating
from recitative.corpora.demo.plan import PlannedClip, mean_rating
from recitative.files import write_csv

MUSIC_FOLDERS = {"eng": "MER_audio_taffc_dataset", "man": "CH818"}
Utterance = tuple[str, str, float]  # id, transcript and seconds of a file, after it was written
_METADATA = (
    "Song,Artist,Title,Quadrant,PQuad,MoodsTotal,Moods,MoodsFoundStr,MoodsStr,MoodsStrSplit,"
    "Genres,GenresStr,Sample,SampleURL"
)
_SPEAKERS_HEAD = """\
; SYNTHETIC speakers: voices of espeak-ng. The fields are those of LibriSpeech's SPEAKERS.TXT.
;
;ID  |SEX| SUBSET           |MINUTES| NAME
"""


def utterance_path(folder: Path, language: Language, speaker: int, index: int) -> Path:
    """Where utterance `index` of speaker `speaker` goes; both are counted from 0."""
    if language == "eng":
        reader, chapter = 9001 + speaker, 390_001 + speaker
        chapter_folder = folder / f"LibriSpeech/train-clean-100/{reader}/{chapter}"
        return chapter_folder / f"{reader}-{chapter}-{index:04d}.flac"
    name = f"S{2 + speaker:04d}"
    return folder / f"data_aishell/wav/train/{name}/BAC009{name}W{122 + index:04d}.wav"


def clip_path(folder: Path, language: Language, clip: PlannedClip) -> Path:
    """Where a piece of music goes."""
    if language == "eng":
        return folder / MUSIC_FOLDERS["eng"] / clip.quadrant / f"{_song(clip)}.mp3"
    return folder / MUSIC_FOLDERS["man"] / "ch818_mp3" / f"{clip.index + 1}.mp3"


def write_librispeech(
    folder: Path, voices: Sequence[tuple[str, str]], utterances: Sequence[Sequence[Utterance]]
) -> None:
    """Write each chapter's `.trans.txt`, and SPEAKERS.TXT; `voices` are sex and variant."""
    lines = []
    for index, ((sex, variant), spoken) in enumerate(zip(voices, utterances, strict=True)):
        chapter = utterance_path(folder, "eng", index, 0).parent
        reader = chapter.parent.name
        _write_text(chapter / f"{reader}-{chapter.name}.trans.txt", _transcripts(spoken))
        minutes = sum(seconds for _, _, seconds in spoken) / 60
        name = f"Synthetic {variant}"
        lines.append(f"{reader:<5}| {sex} | train-clean-100  | {minutes:5.2f} | {name}\n")
    _write_text(folder / "LibriSpeech/SPEAKERS.TXT", _SPEAKERS_HEAD + "".join(lines))


def write_aishell(folder: Path, utterances: Sequence[Sequence[Utterance]]) -> None:
    """Write the transcript table."""
    text = "".join(map(_transcripts, utterances))
    _write_text(folder / "data_aishell/transcript/aishell_transcript_v0.8.txt", text)


def write_4q_emotion(
    folder: Path, clips: Sequence[PlannedClip], ratings: Sequence[Sequence[Rating]]
) -> None:
    """Write the annotations and the metadata, and our own table of ratings beside them.

    The original has no column a rater, so the ratings are in long form in a file of their own.
    """
    root = folder / MUSIC_FOLDERS["eng"]
    annotations = [{"Song": _song(clip), "Quadrant": clip.quadrant} for clip in clips]
    metadata = [
        {"Artist": _artist(clip), "Title": f"Synthetic song {clip.index + 1}"} | annotation
        for clip, annotation in zip(clips, annotations, strict=True)
    ]
    answers = [
        {"Song": _song(clip)} | vars(rating)
        for clip, answered in zip(clips, ratings, strict=True)
        for rating in answered
    ]
    write_csv(root / "panda_dataset_taffc_annotations.csv", ["Song", "Quadrant"], annotations)
    write_csv(root / "panda_dataset_taffc_metadata.csv", _METADATA.split(","), metadata)
    columns = ["Song", "rater", "arousal", "valence"]
    write_csv(root / "panda_dataset_taffc_ratings.csv", columns, answers)


def write_ch818(
    folder: Path,
    clips: Sequence[PlannedClip],
    ratings: Sequence[Sequence[Rating]],
    raters: Sequence[str],
) -> None:
    """Write the AV table: the means, the artist, and two columns a rater, empty where missing."""
    columns = ["Songs", "Arousal", "Valence", "Artist"]
    columns += [f"Arousal_{rater}" for rater in raters] + [f"Valence_{rater}" for rater in raters]
    rows = []
    for clip, answered in zip(clips, ratings, strict=True):
        arousal, valence = mean_rating(answered)
        row: dict[str, str | float] = {"Songs": f"./{clip.index + 1}.mp3", "Artist": _artist(clip)}
        row |= {"Arousal": arousal, "Valence": valence}
        for rating in answered:
            row[f"Arousal_{rating.rater}"] = rating.arousal
            row[f"Valence_{rating.rater}"] = rating.valence
        rows.append(row)
    write_csv(folder / MUSIC_FOLDERS["man"] / "CH818_AV.csv", columns, rows)


def _transcripts(spoken: Sequence[Utterance]) -> str:
    return "".join(f"{name} {transcript}\n" for name, transcript, _ in spoken)


def _song(clip: PlannedClip) -> str:
    return f"MT00000{90_000 + clip.index:05d}"


def _artist(clip: PlannedClip) -> str:
    return f"Synthetic artist {clip.artist + 1:02d}"


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
