import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from recitative.corpora.demo import DemoConfig, make_demo_corpus
from recitative.corpora.demo.processes import run_apart
from recitative.corpora.demo.sentences import draw_sentence
from recitative.corpora.demo.speech import SAMPLE_RATE, draw_speaker, speak
from recitative.errors import UserError
from recitative.seeding import derive_rng


def test_english_sentences_look_like_librispeechs():
    rng = derive_rng(0, "english")
    for _ in range(200):
        sentence = draw_sentence("eng", rng)
        assert sentence.transcript.replace(" ", "").isalpha()
        assert sentence.transcript == sentence.transcript.upper()
        assert sentence.spoken.endswith(".")
        assert sentence.spoken.upper().replace(",", "").rstrip(".") == sentence.transcript


def test_mandarin_sentences_have_a_syllable_a_character():
    rng = derive_rng(0, "mandarin")
    for _ in range(200):
        sentence = draw_sentence("man", rng)
        characters = sentence.transcript.replace(" ", "")
        syllables = sentence.spoken.replace(",", "").rstrip(".").split()
        assert all("一" <= character <= "鿿" for character in characters)
        assert len(characters) == len(syllables)
        assert all(syllable[-1] in "12345" and syllable[:-1].isalpha() for syllable in syllables)


def test_sentences_vary():
    rng = derive_rng(0, "variety")
    for language in ("eng", "man"):
        assert len({draw_sentence(language, rng).transcript for _ in range(200)}) == 200


def _first_utterances(language, index, seconds):
    rng = derive_rng(0, "read", language, index)
    speaker = draw_speaker(language, index, rng)
    return [samples for _, samples in speak(language, speaker, seconds, rng)]


@pytest.mark.parametrize("language", ["eng", "man"])
def test_an_utterance_is_loud_enough_and_of_the_promised_length(language):
    utterances = run_apart({"one": partial(_first_utterances, language, 3, 60)}, 1, "one speaker")[
        "one"
    ]
    seconds = [len(samples) / SAMPLE_RATE for samples in utterances]
    assert 60 <= sum(seconds) < 60 + max(seconds)
    assert np.mean(np.array(seconds) > 4.5) >= 0.9  # CPC needs 4 s
    assert np.median(seconds) > 5
    assert max(seconds) < 20
    for samples in utterances:
        assert samples.dtype == np.float32
        assert 0.4 < np.abs(samples).max() < 1
        frames = samples[: len(samples) // 400 * 400].reshape(-1, 400)
        assert np.mean(np.sqrt((frames**2).mean(axis=1)) > 0.01) > 0.5


def test_speakers_differ_in_pitch():
    librosa = pytest.importorskip("librosa")
    read = run_apart(
        {i: partial(_first_utterances, "eng", i, 1) for i in (0, 1)}, 2, "two speakers"
    )
    female, male = (
        np.median(librosa.yin(read[i][0], fmin=60, fmax=400, sr=SAMPLE_RATE)) for i in (0, 1)
    )
    assert female > 1.2 * male


def test_without_espeak_the_command_that_installs_it(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[demo\]'"):
        make_demo_corpus(tmp_path, DemoConfig(), workers=1)
    assert not list(tmp_path.iterdir())


def _die():
    import os

    os._exit(1)


def test_a_dead_process_is_an_error_and_not_a_hang():
    with pytest.raises(UserError, match="fewer workers"):
        run_apart({"dies": _die}, 1, "fragile voices")
