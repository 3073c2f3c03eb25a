import re
from collections import Counter
from pathlib import Path

import krippendorff
import librosa
import numpy as np
import pytest
import soundfile
from pydantic import ValidationError
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from recitative.corpora.base import Clip, datasets
from recitative.corpora.demo import DemoConfig, make_demo_corpus
from recitative.corpora.demo.artists import write_music
from recitative.corpora.demo.emotion import express, plan_emotions
from recitative.corpora.demo.speech import VARIANTS, draw_speaker
from recitative.files import read_csv

SMALL = DemoConfig(  # every voice reads once, in either language
    speech_minutes=0.5,
    speakers=len(VARIANTS),
    music_clips=24,
    artists=15,
    clip_seconds=1.5,
    raters=5,
    emotion_clips=4,
)
ADAPTERS = {
    "librispeech": ("LibriSpeech", "eng"),
    "aishell": ("data_aishell", "man"),
    "emotion_4q": ("MER_audio_taffc_dataset", "eng"),
    "ch818": ("CH818", "man"),
    "esd": ("ESD", "eng"),
}
FILES = {
    "librispeech": r"LibriSpeech/train-clean-100/(\d+)/(\d+)/\1-\2-\d{4}\.flac",
    "aishell": r"data_aishell/wav/train/(S\d{4})/BAC009\1W\d{4}\.wav",
    "emotion_4q": r"MER_audio_taffc_dataset/Q[1-4]/MT00000\d{5}\.mp3",
    "ch818": r"CH818/ch818_mp3/\d+\.mp3",
    "esd": r"ESD/(\d{4})/(Happy|Surprise|Angry|Sad|Calm)/\1_\d{6}\.wav",
}
TABLES = {
    "README.txt",
    "LibriSpeech/SPEAKERS.TXT",
    "data_aishell/transcript/aishell_transcript_v0.8.txt",
    "MER_audio_taffc_dataset/panda_dataset_taffc_annotations.csv",
    "MER_audio_taffc_dataset/panda_dataset_taffc_metadata.csv",
    "MER_audio_taffc_dataset/panda_dataset_taffc_ratings.csv",
    "CH818/CH818_AV.csv",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_demo_corpus(folder, SMALL, workers=2)
    return folder


@pytest.fixture(scope="module")
def full_music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_music(folder, DemoConfig(), workers=2)
    return folder


def _files(folder: Path) -> dict[str, Path]:
    return {
        str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _clips(folder: Path, name: str) -> list[Clip]:
    dataset = datasets()[name]
    root, language = ADAPTERS[name]
    config = dataset.config(adapter=name, folder=root, language=language)
    clips = list(dataset.iter_clips(folder / root, config))
    assert all(isinstance(clip, Clip) for clip in clips), clips
    return clips


def test_the_same_bytes_for_any_number_of_workers(corpus, tmp_path):
    make_demo_corpus(tmp_path, SMALL, workers=1)
    ours, theirs = _files(corpus), _files(tmp_path)
    assert list(ours) == list(theirs)
    assert [n for n in ours if ours[n].read_bytes() != theirs[n].read_bytes()] == []


def test_every_file_has_its_original_name(corpus):
    names = set(_files(corpus))
    transcripts = {name for name in names if name.endswith(".trans.txt")}
    assert len(transcripts) == SMALL.speakers
    for name in transcripts:
        assert re.fullmatch(r"LibriSpeech/train-clean-100/(\d+)/(\d+)/\1-\2\.trans\.txt", name)
    assert names >= TABLES
    audio = names - TABLES - transcripts
    counts = Counter(
        adapter for name in audio for adapter, form in FILES.items() if re.fullmatch(form, name)
    )
    assert counts.total() == len(audio)
    assert counts["emotion_4q"] == counts["ch818"] == SMALL.music_clips
    assert "SYNTHETIC" in (corpus / "README.txt").read_text()


@pytest.mark.parametrize("language", ["eng", "man"])
def test_the_emotional_speech_is_read_by_its_adapter(corpus, language):
    config = datasets()["esd"].config(adapter="esd", folder="ESD", language=language)
    clips = list(datasets()["esd"].iter_clips(corpus / "ESD", config))
    assert len({clip.group for clip in clips}) == 10  # as many as ESD has
    assert Counter(c.emotion for c in clips) == dict.fromkeys(("happy", "angry", "sad", "calm"), 10)


def test_emotional_speech_overlaps_but_leans_as_it_should():
    config = DemoConfig(speakers=10, emotion_clips=40)
    rng = np.random.default_rng(0)
    acted = {}
    for planned in plan_emotions(config, "eng"):
        plain = draw_speaker("eng", planned.speaker, np.random.default_rng(planned.speaker))
        acted.setdefault(planned.quadrant, []).append(express(planned, plain, rng))
    loud, soft = acted["Q1"] + acted["Q2"], acted["Q3"] + acted["Q4"]
    for cue in ("rate", "pitch", "pitch_range", "peak"):
        high, low = ([getattr(one, cue) for one in part] for part in (loud, soft))
        assert np.mean(high) > np.mean(low)
        assert min(high) < np.median(low), f"{cue} gives arousal away"
    assert {len(part) for part in acted.values()} == {100}


def test_no_two_audio_files_are_alike(corpus):
    audio = [p for p in _files(corpus).values() if p.suffix in (".flac", ".wav", ".mp3")]
    assert len({path.read_bytes() for path in audio}) == len(audio)


@pytest.mark.parametrize("name", ["librispeech", "aishell"])
def test_the_speech_is_read_by_its_adapter(corpus, name):
    clips = _clips(corpus, name)
    assert len({clip.group for clip in clips}) == SMALL.speakers
    seconds = 0.0
    for clip in clips:
        samples, rate = soundfile.read(clip.path)
        assert rate == 16_000
        assert samples.ndim == 1
        assert samples.std() > 0.01
        seconds += len(samples) / rate
    assert seconds >= 60 * SMALL.speech_minutes


def test_every_utterance_has_a_transcript(corpus):
    table = (corpus / "data_aishell/transcript/aishell_transcript_v0.8.txt").read_text("utf-8")
    lines = table.splitlines()
    for path in corpus.rglob("*.trans.txt"):
        own = path.read_text("utf-8").splitlines()
        assert [line.split()[0] for line in own] == sorted(
            p.stem for p in path.parent.glob("*.flac")
        )
        lines += own
    read = (p for p in _files(corpus).values() if "ESD" not in p.parts)
    audio = [p for p in read if p.suffix in (".flac", ".wav")]
    assert sorted(line.split(" ", 1)[0] for line in lines) == sorted(path.stem for path in audio)
    assert all(line.split(" ", 1)[1].strip() for line in lines)


def test_speakers_txt_is_librispeechs_table(corpus):
    lines = (corpus / "LibriSpeech/SPEAKERS.TXT").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line[0] != ";"]
    folders = {path.name for path in (corpus / "LibriSpeech/train-clean-100").iterdir()}
    assert {row[0] for row in rows} == folders
    assert {row[1] for row in rows} == {"F", "M"}
    assert {row[2] for row in rows} == {"train-clean-100"}


@pytest.mark.parametrize("name", ["emotion_4q", "ch818"])
def test_the_music_is_read_by_its_adapter(corpus, name):
    clips = _clips(corpus, name)
    assert len(clips) == SMALL.music_clips
    assert len({clip.group for clip in clips}) == SMALL.artists
    shares = [6, 6, 6, 6] if name == "emotion_4q" else [11, 4, 6, 3]
    counts = Counter(clip.quadrant for clip in clips)
    assert [counts[quadrant] for quadrant in ("Q1", "Q2", "Q3", "Q4")] == shares
    raters = Counter(rating.rater for clip in clips for rating in clip.ratings)
    assert len(raters) == SMALL.raters
    assert max(raters.values()) <= SMALL.music_clips
    for clip in clips:
        assert clip.ratings
        for rating in clip.ratings:
            assert -10 <= rating.arousal <= 10
            assert -10 <= rating.valence <= 10
        samples, rate = soundfile.read(clip.path)
        assert rate == 22_050
        assert len(samples) / rate == pytest.approx(SMALL.clip_seconds, abs=0.1)
        assert samples.std() > 0.02
        assert np.abs(samples).max() <= 1


def test_metadata_has_the_header_of_the_original(corpus, real_data):
    name = "MER_audio_taffc_dataset/panda_dataset_taffc_metadata.csv"
    ours, theirs = ((root / name).open().readline() for root in (corpus, real_data))
    assert ours == theirs


def test_ch818s_means_are_over_the_raters_who_answered(corpus):
    empty = 0
    for row in read_csv(corpus / "CH818/CH818_AV.csv"):
        for dimension in ("Arousal", "Valence"):
            cells = [row[f"{dimension}_r{rater:02d}"] for rater in range(1, SMALL.raters + 1)]
            empty += cells.count("")
            mean = np.mean([float(cell) for cell in cells if cell])
            assert float(row[dimension]) == pytest.approx(mean, abs=6e-4)
            assert mean != 0
    assert 0 < empty < 0.2 * 2 * SMALL.music_clips * SMALL.raters


@pytest.mark.parametrize(
    "values",
    [{"speakers": 5}, {"artists": 14}, {"music_clips": 16}, {"speech_minutes": 0}, {"sped": 1}],
)
def test_impossible_sizes_are_refused(values):
    with pytest.raises(ValidationError):
        DemoConfig(**values)


@pytest.mark.slow
def test_the_mandarin_raters_agree_less(full_music):
    alphas = {}
    for name in ("emotion_4q", "ch818"):
        clips = _clips(full_music, name)
        raters = sorted({rating.rater for clip in clips for rating in clip.ratings})
        for dimension in ("arousal", "valence"):
            answers = np.full((len(raters), len(clips)), np.nan)
            for column, clip in enumerate(clips):
                for rating in clip.ratings:
                    answers[raters.index(rating.rater), column] = getattr(rating, dimension)
            alphas[name, dimension] = krippendorff.alpha(
                reliability_data=answers, level_of_measurement="interval"
            )
    for dimension in ("arousal", "valence"):
        english, mandarin = alphas["emotion_4q", dimension], alphas["ch818", dimension]
        assert 0.2 < mandarin < english - 0.1 < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("name", "low"), [("emotion_4q", 0.45), ("ch818", 0.4)])
def test_the_quadrants_are_neither_random_nor_given_away(full_music, name, low):
    clips = _clips(full_music, name)
    features = np.array([_mfcc_mean_and_deviation(clip.path) for clip in clips])
    quadrants = [clip.quadrant for clip in clips]
    model = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    scores = []
    for seed in range(3):
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        groups = [clip.group for clip in clips]
        found = cross_val_predict(model, features, quadrants, groups=groups, cv=folds)
        scores.append(f1_score(quadrants, found, average="macro"))
    assert low < np.mean(scores) < 0.85


def _mfcc_mean_and_deviation(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32")
    samples /= np.abs(samples).max()  # loudness as such must give nothing away
    mfcc = librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=20, n_fft=2048, hop_length=1024)
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)])
