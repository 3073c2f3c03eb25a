"""What is planted in the embedded corpora: the calls, the band that tells the quadrant, the labels."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from scipy.signal import hilbert

from recitative.corpora.demo import DemoConfig, effects
from recitative.corpora.demo.artists import write_music
from recitative.corpora.demo.effects import BANDS, RIGHT, call, plant, unrelated
from recitative.seeding import derive_rng
from recitative.vocabulary import QUADRANTS

RATE = 16_000
SMALL = DemoConfig(music_clips=16, artists=15, clip_seconds=1, raters=2)


def _heights(band: str, quadrant: str, seed: int = 0) -> list[str]:
    """Where a call is in its band at its beginning, middle and end."""
    sound = call(band, quadrant, RATE, derive_rng(seed))
    phase = np.unwrap(np.angle(hilbert(sound)))
    frequency = np.diff(phase) * RATE / (2 * np.pi)
    low, high = np.log(BANDS[band])
    at = [np.median(frequency[round(s * len(frequency)) :][:160]) for s in (0.06, 0.47, 0.88)]
    place = (np.log(at) - low) / (high - low)
    return ["low" if p < 0.4 else "high" if p > 0.6 else "middle" for p in place]


@pytest.mark.parametrize("band", BANDS)
def test_each_quadrant_has_a_shape_of_its_own(band):
    assert _heights(band, "Q1") == ["low", "high", "low"]
    assert _heights(band, "Q2") == ["high", "low", "high"]
    assert _heights(band, "Q3") == ["high", "middle", "low"]
    assert _heights(band, "Q4") == ["low", "middle", "high"]


def test_the_four_shapes_have_one_mean_spectrum():
    """Level and pitch, which any encoder shows, must not tell what only the shape shall tell."""
    edges = np.geomspace(500, 1400, 7)

    def shares(quadrant):
        sounds = [call("low", quadrant, RATE, derive_rng(n)) for n in range(60)]
        power = sum(np.abs(np.fft.rfft(sound, RATE)) ** 2 for sound in sounds)
        summed = np.histogram(np.arange(len(power)), edges, weights=power)[0]
        return summed / summed.sum()

    found = np.array([shares(quadrant) for quadrant in QUADRANTS])
    assert np.ptp(found, axis=0).max() < 0.08


@pytest.fixture
def told(monkeypatch):
    """Which quadrant each band calls for, instead of sounds."""

    def planted(effect, kind, language, times=400):
        found = {band: Counter() for band in BANDS}

        def listen(band, quadrant, size, rate, rng):
            found[band][quadrant] += 1
            return np.ones(size)

        monkeypatch.setattr(effects, "train", listen)
        for n in range(times):
            plant(np.ones(10, np.float32), RATE, effect, kind, language, "Q2", derive_rng(n))
        return {band: counts["Q2"] / times for band, counts in found.items()}

    return planted


CHANCE = pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize("kind", ["speech", "music"])
def test_planted_pretraining_tells_the_quadrant_alike_in_all(told, kind):
    for language in ("eng", "man"):
        assert told("pretraining", kind, language) == {"low": 1, "high": CHANCE}


@pytest.mark.parametrize("kind", ["speech", "music"])
def test_planted_language_tells_it_in_another_band_in_each(told, kind):
    assert told("language", kind, "eng") == {"low": 1, "high": CHANCE}
    assert told("language", kind, "man") == {"low": CHANCE, "high": 1}


def test_where_nothing_is_planted_music_tells_nothing(told):
    for language in ("eng", "man"):
        assert told("none", "speech", language) == {"low": 1, "high": CHANCE}
        assert told("none", "music", language) == {"low": CHANCE, "high": CHANCE}


def test_single_calls_err(monkeypatch):
    heard = Counter()

    def listen(band, quadrant, rate, rng):
        heard[quadrant] += 1
        return np.ones(1)

    monkeypatch.setattr(effects, "call", listen)
    effects.train("low", "Q3", 300 * RATE, RATE, derive_rng(0))
    share = heard["Q3"] / heard.total()
    assert share == pytest.approx(RIGHT + (1 - RIGHT) / 4, abs=0.05)
    assert min(heard[quadrant] for quadrant in QUADRANTS) > 0.05 * heard.total()


def test_planting_keeps_length_and_peak_and_follows_the_seed():
    silence_and_tone = np.sin(np.linspace(0, 900, RATE)).astype(np.float32) * np.float32(0.3)

    def planted(seed):
        return plant(silence_and_tone, RATE, "language", "music", "man", "Q1", derive_rng(seed))

    assert planted(1).dtype == np.float32
    assert planted(1).shape == silence_and_tone.shape
    assert np.abs(planted(1)).max() == pytest.approx(0.3, rel=1e-3)
    assert np.array_equal(planted(1), planted(1))
    assert not np.array_equal(planted(1), planted(2))


def test_what_a_piece_itself_expresses_has_nothing_to_do_with_its_label():
    drawn = np.array([unrelated(derive_rng(n)) for n in range(400)])
    assert np.abs(drawn.mean(axis=0)).max() < 0.1
    assert (np.abs(drawn) <= 1).all()


def test_an_effect_changes_what_is_heard_and_no_label(tmp_path):
    folders = {}
    for effect in ("composed", "pretraining"):
        folders[effect] = tmp_path / effect
        folders[effect].mkdir()
        write_music(folders[effect], SMALL.model_copy(update={"effect": effect}), workers=1)
    names = [sorted(p.relative_to(f) for p in f.rglob("*.*")) for f in folders.values()]
    assert names[0] == names[1]
    for name in names[0]:
        composed, planted = ((folder / name).read_bytes() for folder in folders.values())
        assert (composed == planted) == (name.suffix == ".csv"), name
    path = next((folders["pretraining"]).rglob("*.mp3"))
    assert soundfile.info(path).duration == pytest.approx(1, abs=0.1)


def test_the_page_has_the_figures(project_root):
    page = (project_root / "docs" / "truth.md").read_text(encoding="utf-8")
    for low, high in BANDS.values():
        assert f"{low:.0f}–{high:.0f} Hz" in page
    assert f"{100 * RIGHT:.0f} % of the calls" in page
    assert f"so {100 * (RIGHT + (1 - RIGHT) / 4):.1f} % are right" in page
    assert "{} to {} s".format(*effects.CALL_SECONDS) in page
    assert "{:g} to {:g} calls a second".format(*effects.PACE) in page
    assert "{:g} to {:g} dB above".format(*effects.LEVEL) in page
    assert f"single calls ± {effects.CALL_LEVEL:g} dB" in page
    assert f"up to {effects.SHIFT:g} octaves" in page
