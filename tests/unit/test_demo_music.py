from dataclasses import replace

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.corpora.demo.music import SPREAD, compose, draw_cues, draw_style, play
from recitative.corpora.demo.plan import (
    SIGNS,
    apportion,
    draw_rater,
    draw_ratings,
    mean_rating,
    plan_clips,
)
from recitative.corpora.demo.synthesis import PEAK, SAMPLE_RATE, TIMBRES, Beat, Note, render
from recitative.seeding import derive_rng
from recitative.vocabulary import QUADRANTS

SEMITONE = 2 ** (1 / 12)


@pytest.mark.parametrize("timbre", sorted(set(TIMBRES) - {"voice"}))
@pytest.mark.parametrize("pitch", [57, 69])
def test_a_note_sounds_at_its_pitch(timbre, pitch):
    note = Note(onset=0, seconds=1, pitch=pitch, level=1, timbre=timbre)
    samples = render([note], [], 1, brightness=0, drive=0.5, rng=derive_rng(0))
    heard = np.median(librosa.yin(samples[2000:-4000], fmin=100, fmax=900, sr=SAMPLE_RATE))
    assert heard == pytest.approx(440 * SEMITONE ** (pitch - 69), rel=0.01)


def test_brightness_lifts_the_spectrum_and_drive_flattens_the_peaks():
    notes = [Note(i / 4, 0.3, 60 + i, 1, "guitar") for i in range(8)]

    def sound(brightness, drive):
        return render(notes, [Beat(0.5, 1, low=True)], 2, brightness, drive, derive_rng(0))

    def centroid(samples):
        return librosa.feature.spectral_centroid(y=samples, sr=SAMPLE_RATE).mean()

    def crest(samples):
        return np.abs(samples).max() / samples.std()

    assert centroid(sound(0.5, 1)) > 1.2 * centroid(sound(-0.5, 1))
    assert crest(sound(0, 6)) < 0.7 * crest(sound(0, 0.5))


def test_a_note_past_the_end_is_cut():
    samples = render([Note(0.9, 5, 60, 1, "organ")], [], 1, 0, 1, derive_rng(0))
    assert len(samples) == SAMPLE_RATE
    assert np.abs(samples).max() == pytest.approx(PEAK)


@pytest.mark.parametrize("language", ["eng", "man"])
def test_cues_follow_the_literature_but_overlap(language):
    rng = derive_rng(0, "cues", language)

    def draw(arousal, valence):
        styles = [draw_style(language, rng) for _ in range(400)]
        return [draw_cues(arousal, valence, style, SPREAD[language], rng) for style in styles]

    def of(cues, name):
        return np.array([getattr(cue, name) for cue in cues], dtype=float)

    happy, angry, sad, tender = draw(0.5, 0.5), draw(0.5, -0.5), draw(-0.5, -0.5), draw(-0.5, 0.5)
    for name in ("tempo", "loudness", "brightness", "density"):  # of arousal
        for high, low in ((happy, tender), (angry, sad)):
            assert of(high, name).mean() > of(low, name).mean()
            assert 0.01 < np.mean(of(high, name) < np.median(of(low, name))) < 0.4, name
    assert of(happy, "articulation").mean() < of(sad, "articulation").mean()
    for bright, dark in ((happy, angry), (tender, sad)):  # of valence
        for name in ("bright_mode", "register"):
            assert of(bright, name).mean() > of(dark, name).mean()
    assert of(angry, "roughness").mean() > of(tender, "roughness").mean()
    assert 0.05 < of(sad, "bright_mode").mean() < 0.5 < of(happy, "bright_mode").mean() < 0.95


@pytest.mark.parametrize(("language", "steps"), [("eng", 7), ("man", 5)])
@pytest.mark.parametrize("bright_mode", [True, False])
def test_without_roughness_a_piece_keeps_to_its_scale(language, steps, bright_mode):
    rng = derive_rng(1, language)
    for _ in range(20):
        style = draw_style(language, rng)
        cues = replace(draw_cues(0.5, 0, style, 0.3, rng), roughness=0.0, bright_mode=bright_mode)
        notes, _ = compose(language, cues, style, 30, rng)
        used = {round((note.pitch - style.key - cues.register) % 12, 6) % 12 for note in notes}
        assert len(used) <= steps
        assert 0 in used
        assert 3 not in used if bright_mode else 4 not in used  # the other mode's third
        assert all(0 <= note.onset < 30 + 60 / cues.tempo and note.seconds > 0 for note in notes)


def test_roughness_leaves_the_scale():
    rng = derive_rng(1)
    style = draw_style("man", rng)
    cues = replace(draw_cues(0.5, 0, style, 0.3, rng), roughness=0.9)
    notes, _ = compose("man", cues, style, 30, rng)
    assert len({round((note.pitch - style.key - cues.register) % 12, 6) for note in notes}) > 5


@pytest.mark.parametrize("language", ["eng", "man"])
def test_a_piece_sounds_throughout(language):
    rng = derive_rng(2, language)
    samples = play(language, -0.5, 0.5, draw_style(language, rng), 4, rng)
    assert samples.dtype == np.float32
    assert samples.shape == (4 * SAMPLE_RATE,)
    assert np.abs(samples).max() == pytest.approx(PEAK)
    assert samples.reshape(4, -1).std(axis=1).min() > 0.02


def test_the_plan_has_the_class_shares_of_the_originals():
    for language, counts in (("eng", [15, 15, 15, 15]), ("man", [29, 9, 15, 7])):
        plan = plan_clips(language, 60, 18, derive_rng(0, language))
        assert [clip.index for clip in plan] == list(range(60))
        assert [sum(clip.quadrant == q for clip in plan) for q in QUADRANTS] == counts
        assert len({clip.artist for clip in plan}) == 18
        for quadrant in QUADRANTS:
            assert len({clip.artist for clip in plan if clip.quadrant == quadrant}) >= 5
        quadrants_an_artist = [
            len({clip.quadrant for clip in plan if clip.artist == artist}) for artist in range(18)
        ]
        assert min(quadrants_an_artist) >= 2
        for clip in plan:
            assert np.sign([clip.arousal, clip.valence]).tolist() == list(SIGNS[clip.quadrant])
        order = "".join(clip.quadrant for clip in plan)
        assert order != "".join(sorted(clip.quadrant for clip in plan))


@given(st.integers(0, 10_000), st.lists(st.integers(1, 500), min_size=1, max_size=6))
def test_apportioned_numbers_add_up_and_keep_the_shares(total, shares):
    counts = apportion(total, tuple(shares))
    assert sum(counts) == total
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - total * share / sum(shares)) < 1


@given(
    st.floats(0.12, 1),
    st.floats(0.12, 1),
    st.sampled_from(QUADRANTS),
    st.sampled_from(["eng", "man"]),
    st.integers(2, 12),
    st.integers(0, 10_000),
)
def test_the_raters_mean_is_in_the_quadrant_of_the_clip(a, v, quadrant, language, count, seed):
    rng = np.random.default_rng(seed)
    signs = SIGNS[quadrant]
    raters = [draw_rater(index, rng) for index in range(count)]
    ratings = draw_ratings(a * signs[0], v * signs[1], raters, language, rng)
    assert 1 <= len(ratings) <= count
    for rating in ratings:
        assert -10 <= rating.arousal <= 10
        assert -10 <= rating.valence <= 10
    assert tuple(np.sign(mean_rating(ratings))) == signs
