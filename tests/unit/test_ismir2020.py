"""The study behind the paper's Section 4.1, to its last printed digit; and pictures of it."""

import json

import krippendorff
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from recitative.agreement import study as ismir2020
from recitative.agreement.consensus import ceiling, majority_share
from recitative.agreement.figures import WIDTHS, draw_agreement, plot_rater_matrix
from recitative.agreement.ratings import read_ratings
from recitative.cli import cli

# The study's table: english, spanish, mandarin, german, all.
PUBLISHED = {
    "anger": (0.429, 0.311, 0.367, 0.482, 0.364),
    "bitter": (0.278, 0.209, 0.155, 0.278, 0.202),
    "fear": (0.241, 0.175, 0.091, 0.207, 0.171),
    "joy": (0.304, 0.437, 0.311, 0.476, 0.372),
    "peace": (0.401, 0.332, 0.401, 0.438, 0.371),
    "power": (0.379, 0.287, 0.296, 0.325, 0.289),
    "sad": (0.330, 0.343, 0.279, 0.378, 0.326),
    "surprise": (0.041, 0.055, 0.068, 0.218, 0.075),
    "tender": (0.444, 0.314, 0.452, 0.581, 0.396),
    "tension": (0.264, 0.324, 0.282, 0.323, 0.296),
    "transcendence": (0.080, 0.049, 0.083, -0.012, 0.057),
}
ROWS_KEPT = {  # of the 2520 answers on the 20 excerpts with lyrics
    "preference>=3": 1704,
    "preference<=3": 1495,
    "preference>3": 1025,
    "preference<3": 816,
    "familiarity>=3": 571,
    "familiarity<=3": 2113,
    "familiarity>3": 407,
    "familiarity<3": 1949,
    "understanding>=3": 1613,
    "understanding<=3": 1263,
    "understanding>3": 1257,
    "understanding<3": 907,
    "mus_train>26.52": 1120,
    "mus_train<26.52": 1400,
    "emotions>34.66": 1500,
    "emotions<34.66": 1020,
    "mus_soph>81.58": 1240,
    "mus_soph<81.58": 1280,
}


@pytest.fixture(scope="module")
def study(real_data):
    return real_data / "agreement" / "data_ratings.all.csv"


@pytest.fixture(scope="module")
def languages(study):
    return ismir2020.by_language(study, seed=1, draws=50)


@pytest.fixture(scope="module")
def by_traits(study):
    return ismir2020.by_trait(study, seed=1, draws=0)


@pytest.fixture(scope="module")
def base(study):
    return ismir2020.base(study, seed=1, draws=0)


@pytest.mark.real
def test_the_55_published_alphas(languages):
    found = {(row["emotion"], row["language"]): row for row in languages}
    assert len(found) == len(languages) == 55
    for emotion, alphas in PUBLISHED.items():
        for language, alpha in zip((*ismir2020.LANGUAGES, "all"), alphas, strict=True):
            row = found[emotion, language]
            assert row["alpha"] == pytest.approx(alpha, abs=0.0005), (emotion, language)
            assert row["low"] < row["high"]
    listeners = {row["language"]: (row["raters"], row["ratings"]) for row in languages}
    assert listeners == {
        "english": (26, 572),
        "spanish": (56, 1232),
        "mandarin": (27, 594),
        "german": (17, 374),
        "all": (126, 2772),
    }


@pytest.mark.real
def test_traits_keep_what_they_say(by_traits):
    counts = {row["filter"].split(" and ")[0]: row["answers"] for row in by_traits}
    assert counts == ROWS_KEPT
    assert len(by_traits) == 18 * 11
    for trait in ("preference", "familiarity", "understanding"):
        # Above and below share the neutral answers, or leave them out.
        loose = counts[f"{trait}>=3"] + counts[f"{trait}<=3"]
        strict = counts[f"{trait}>3"] + counts[f"{trait}<3"]
        assert loose - 2520 == 2520 - strict


@pytest.mark.real
def test_a_trait_is_a_plain_filter(study, by_traits):
    # Understanding the lyrics raises agreement on joy and lowers it on anger, either way of reading.
    import pandas as pd

    table = pd.read_csv(study, skipinitialspace=True)
    kept = table[(table.understanding < 3) & ~table.excerpt.isin(["anger_2", "fear_1"])]
    matrix = kept.pivot(index=["language", "user"], columns="excerpt", values="anger")
    expected = krippendorff.alpha(matrix.to_numpy(float), level_of_measurement="ordinal")
    found = {(row["filter"].split(" and ")[0], row["emotion"]): row["alpha"] for row in by_traits}
    assert found["understanding<3", "anger"] == pytest.approx(expected, abs=1e-12)
    for above, below in (
        ("understanding>=3", "understanding<=3"),
        ("understanding>3", "understanding<3"),
    ):
        assert found[above, "joy"] > found[below, "joy"]
        assert found[above, "anger"] < found[below, "anger"]


@pytest.mark.real
def test_the_base_row_is_all_listeners_without_a_filter(study, base):
    import pandas as pd

    table = pd.read_csv(study, skipinitialspace=True)
    sung = table[~table.excerpt.isin(["anger_2", "fear_1"])]
    for row in base:
        matrix = sung.pivot(index=["language", "user"], columns="excerpt", values=row["emotion"])
        expected = krippendorff.alpha(matrix.to_numpy(float), level_of_measurement="ordinal")
        assert row["alpha"] == pytest.approx(expected, abs=1e-12)
        assert (row["answers"], row["raters"], row["units"]) == (2520, 126, 20)
    assert [row["emotion"] for row in base] == list(ismir2020.EMOTIONS)


@pytest.mark.real
def test_the_recipe_prints_the_base_row_and_writes_it(study, base, tmp_path):
    out = tmp_path / "study.json"
    options = ["--recipe", "ismir2020", "--draws", "0", "--json", str(out), str(study)]
    run = CliRunner().invoke(cli, ["agreement", *options], catch_exceptions=False)
    lines = run.output.splitlines()
    [title] = [at for at, line in enumerate(lines) if line.endswith("; no filter")]
    assert lines[title + 2].split() == ["no", "filter"]
    for row, line in zip(base, lines[title + 3 :], strict=False):
        assert line.split() == [row["emotion"], f"{row['alpha']:.3f}"]
    assert base in ([row for row in json.loads(out.read_text()) if row.get("trait") == "none"],)


@pytest.mark.real
def test_the_study_as_text(languages, by_traits, base):
    text = ismir2020.format_study(languages, by_traits, base)
    assert "126 raters of 22 units" in text
    assert "1704" in text
    assert "nan" not in text.lower()
    anger = next(line for line in text.splitlines() if line.startswith("anger"))
    assert [anger.find(alpha) > 0 for alpha in ("0.429", "0.311", "0.367", "0.482", "0.364")]


@pytest.mark.real
def test_quadrants_from_emotions(study):
    classes = ismir2020.quadrant_classes(ismir2020.read(study))
    assert set(np.unique(classes.code)) == {-1, 0, 1, 2, 3}
    assert 0.3 < majority_share(classes) < 0.9
    assert 0.4 < ceiling(classes, rng=np.random.default_rng(0), draws=20).macro_f1 < 0.8


@pytest.mark.real
def test_pictures(study, languages, tmp_path):
    ratings = ismir2020.read(study, by="language")
    written = draw_agreement(
        ratings, languages, "ordinal", tmp_path, classes=ismir2020.quadrant_classes
    )
    names = {f"{stem}-{width}.png" for stem in ("alpha", "raters", "confusion") for width in WIDTHS}
    assert {path.name for path in written} == names == {path.name for path in tmp_path.iterdir()}
    for path in written:
        with Image.open(path) as image:
            expected = WIDTHS[path.stem.split("-")[1]] * 200
            assert image.width == pytest.approx(expected, abs=2)
            assert np.asarray(image.convert("L")).std() > 10


def test_a_picture_of_raters_who_share_little(tmp_path):
    # Rater c shares nothing with a; one value is missing throughout for b.
    path = tmp_path / "few.csv"
    path.write_text("who,clip,joy,sad\na,1,1,2\nb,1,2,\na,2,3,2\nb,2,2,\nb,3,1,\nc,3,1,5\n")
    ratings = read_ratings(path, ["who"], "clip", ["joy", "sad"])
    written = plot_rater_matrix(ratings, "ordinal", tmp_path)
    assert all(path.stat().st_size > 1000 for path in written)
