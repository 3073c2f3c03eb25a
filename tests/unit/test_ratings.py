"""Reading tables of ratings: long and wide, filters exact about their bounds, and every bad input."""

import json

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.agreement.ratings import (
    parse_filter,
    read_music_ratings,
    read_ratings,
    read_wide,
)
from recitative.agreement.table import analyse, format_table
from recitative.errors import UserError

LONG = """user, language, clip, joy, sad, understanding
1, en, a, 1, 2, 3
1, en, b, 4, 2, 2.5
2, en, a, 2, 3, 3.0
2, en, b, 5, , 4
1, de, a, 1, 1, 2
1, de, b, 3, 5, 3
2, de, a, 1, 2, 5
2, de, b, 3, 4,
"""


@pytest.fixture
def table(tmp_path):
    def write(text, name="ratings.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def read(path, **options):
    return read_ratings(path, ["language", "user"], "clip", ["joy", "sad"], **options)


def rows_of(path, **options):
    return analyse(read(path, **options), "ordinal", seed=1, draws=20)


def test_a_long_table(table):
    ratings = read(table(LONG))
    assert ratings.raters == ("de/1", "de/2", "en/1", "en/2")
    assert ratings.units == ("a", "b")
    assert ratings.values["joy"].tolist() == [1, 4, 2, 5, 1, 3, 1, 3]
    assert np.flatnonzero(np.isnan(ratings.values["sad"])).tolist() == [3]
    joy = [[1, 4], [2, 5], [1, 3], [1, 3]]
    assert rows_of(table(LONG))[0]["alpha"] == pytest.approx(
        krippendorff.alpha(joy, level_of_measurement="ordinal")
    )


def test_a_wide_table_holds_what_the_long_one_holds(table):
    wide = table(
        "Song,genre,Arousal_r1,Arousal_r2,Valence_r1,Valence_r3\n"
        "a,pop,1,2,5,\nb,rock,3,,4,2\nc,pop,5,4,,1\n"
    )
    ratings = read_wide(wide, ["Arousal_*", "Valence_*"], unit="Song", by="genre")
    assert list(ratings.values) == ["Arousal", "Valence"]
    assert ratings.raters == ("r1", "r2", "r3")
    entries = {
        (ratings.raters[rater], ratings.units[unit]): tuple(
            None if np.isnan(value[n]) else value[n] for value in ratings.values.values()
        )
        for n, (rater, unit) in enumerate(zip(ratings.rater, ratings.unit, strict=True))
    }
    assert entries == {
        ("r1", "a"): (1, 5),
        ("r2", "a"): (2, None),
        ("r1", "b"): (3, 4),
        ("r3", "b"): (None, 2),
        ("r1", "c"): (5, None),
        ("r2", "c"): (4, None),
        ("r3", "c"): (None, 1),
    }
    assert [row["language"] for row in analyse(ratings, seed=1, draws=0)[::2]] == [
        "pop",
        "rock",
        "all",
    ]
    unnamed = read_wide(wide, ["Arousal_*"])
    assert unnamed.units == ("1", "2", "3")
    popular = read_wide(wide, ["Arousal_*"], unit="Song", filters=["genre==pop"])
    assert popular.units == ("a", "c")
    assert popular.notes == ("filter genre==pop: keeps 2 of 3 rows, 4 of 6 ratings",)


def test_music_ratings(table):
    path = table("id,rater,arousal,valence\na,x,1.5,-2\na,y,3,4\nb,x,-1,0\nb,y,-1,1\n")
    assert read_music_ratings(path).values["valence"].tolist() == [-2, 4, 0, 1]


# --- filters


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("understanding>=3", 5),  # 3, 3.0, 4, 3 and 5; the empty cell meets nothing
        ("understanding>3", 2),
        ("understanding<=3", 5),
        ("understanding<3", 2),
        ("understanding==3", 3),
        ("understanding != 3", 4),
        (" understanding >= 2.5 ", 6),
        ("language==de", 4),
        ("language!=de", 4),
    ],
)
def test_filters_are_exact_about_their_bounds(table, condition, kept):
    ratings = read(table(LONG), filters=[condition])
    assert len(ratings.rater) == kept
    note = f"filter {condition.strip()}: keeps {kept} of 8 rows, {2 * kept} of 16 ratings"
    assert ratings.notes == (note,)
    assert ratings.filter == condition.strip()


def test_filters_must_all_hold(table):
    ratings = read(table(LONG), filters=["understanding>=3", "language==en"])
    assert len(ratings.rater) == 3
    assert ratings.filter == "understanding>=3 and language==en"
    assert ratings.notes[1].startswith("filter language==en: keeps 3 of 5 rows")


@given(
    bound=st.decimals(-9, 9, places=3),
    sign=st.sampled_from([">=", "<=", ">", "<", "==", "!="]),
    gap=st.sampled_from(["", " "]),
)
def test_a_filter_says_what_was_typed(bound, sign, gap):
    found = parse_filter(f"mus soph{gap}{sign}{gap}{bound}")
    assert (found.column, found.operator, float(found.bound)) == ("mus soph", sign, float(bound))


@pytest.mark.parametrize("text", ["", "joy", "joy>", ">3", "joy=3", "joy=>3", "1<joy<3", "joy>=>3"])
def test_what_is_no_filter(text):
    with pytest.raises(UserError, match="is no condition"):
        parse_filter(text)


# --- groups and rows


def test_groups_and_all(table):
    rows = rows_of(table(LONG), by="language", filters=["understanding>=2"])
    assert [(row["emotion"], row["language"]) for row in rows] == [
        ("joy", "de"),
        ("sad", "de"),
        ("joy", "en"),
        ("sad", "en"),
        ("joy", "all"),
        ("sad", "all"),
    ]
    assert [row["ratings"] for row in rows] == [3, 3, 4, 3, 7, 6]
    assert [row["unpaired"] for row in rows] == [1, 1, 0, 1, 0, 0]
    assert {row["filter"] for row in rows} == {"understanding>=2"}
    assert rows[2]["alpha"] == pytest.approx(
        krippendorff.alpha([[1, 4], [2, 5]], level_of_measurement="ordinal")
    )


def test_rows_without_split_or_filter(table):
    rows = rows_of(table(LONG))
    assert {(row["language"], row["filter"]) for row in rows} == {("all", "none")}
    assert all(row["low"] <= row["high"] for row in rows)
    # One more value shifts no other's interval.
    alone = read_ratings(table(LONG), ["language", "user"], "clip", ["sad"])
    assert analyse(alone, "ordinal", seed=1, draws=20) == rows[1:]


def test_the_table_as_text(table):
    text = format_table(rows_of(table(LONG), by="language", filters=["understanding>=2"]))
    lines = text.splitlines()
    assert lines[0].split() == ["de", "en", "all"]
    assert [line.split()[0] for line in lines[1:3]] == ["joy", "sad"]
    assert "raters and units resampled" in text
    assert "filter: understanding>=2" in text
    assert "en: 7 ratings by 2 raters of 2 units" in text
    assert "joy, de: 1 of 3 ratings stand alone on their unit and are in no pair" in text


def test_texts_are_ratings_at_the_nominal_level_only(table):
    path = table("who,clip,q\na,1,Q1\nb,1,Q1\na,2,Q3\nb,2,Q4\na,3,\nb,3,Q1\n")
    ratings = read_ratings(path, ["who"], "clip", ["q"], level="nominal")
    (row,) = analyse(ratings, "nominal", seed=1, draws=0)
    assert row["alpha"] == pytest.approx(
        krippendorff.alpha([[0, 2], [0, 3]], level_of_measurement="nominal")
    )
    with pytest.raises(UserError, match="q is 'Q1' in row 1, no number"):
        read_ratings(path, ["who"], "clip", ["q"], level="ordinal")


def test_spaces_quotes_marks_and_endings_do_not_matter(table, tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes('\ufeffwho , clip, "joy"\r\na,  x, 1\r\nb, x , 2 \r\na, y, 2\r\n'.encode())
    ratings = read_ratings(path, ["who"], "clip", ["joy"])
    assert ratings.units == ("x", "y")
    assert ratings.values["joy"].tolist() == [1, 2, 2]


# --- bad input


def complaint(action):
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_one_rater(table):
    message = complaint(lambda: read(table("user,language,clip,joy,sad\n1,en,a,1,2\n1,en,b,2,2\n")))
    assert "two raters or more, and there is 1 ('en/1'" in message


def test_one_unit(table):
    message = complaint(lambda: read(table("user,language,clip,joy,sad\n1,en,a,1,2\n2,en,a,2,2\n")))
    assert "two units or more, and there is 1 ('a' in clip)" in message


def test_a_unit_with_a_single_rating_is_counted_and_left_out(table):
    with_single = LONG + "1, en, c, 5, 5, 3\n"
    rows, before = rows_of(table(with_single)), rows_of(table(LONG))
    assert rows[0]["alpha"] == before[0]["alpha"]
    assert (rows[0]["ratings"], rows[0]["unpaired"]) == (9, 1)
    assert "joy, all: 1 of 9 ratings stand alone" in format_table(rows)


def test_no_variation_is_said_and_no_nan_reaches_json(table):
    path = table("user,clip,joy\n1,a,2\n2,a,2\n1,b,2\n2,b,2\n")
    rows = analyse(read_ratings(path, ["user"], "clip", ["joy"]), seed=1, draws=20)
    assert (rows[0]["alpha"], rows[0]["low"], rows[0]["high"]) == (None, None, None)
    text = format_table(rows)
    assert "joy, all: alpha is undefined: no variation, every paired rating is 2" in text
    assert "nan" not in text.lower()
    assert '"alpha": null' in json.dumps(rows, allow_nan=False)


def test_a_group_of_one_rater_or_none_is_said(table):
    path = table("user,group,clip,joy\n1,x,a,2\n1,x,b,3\n2,y,a,2\n3,y,a,3\n2,y,b,1\n4,z,b,\n")
    rows = analyse(read_ratings(path, ["user"], "clip", ["joy"], by="group"), seed=1, draws=5)
    notes = {row["language"]: row["note"] for row in rows}
    assert notes["x"] == "alpha is undefined: one rater"
    assert notes["z"] == "alpha is undefined: no rating"
    assert notes["y"] is None


def test_text_among_numbers(table):
    message = complaint(lambda: read(table(LONG.replace("2, en, b, 5", "2, en, b, five"))))
    assert "joy is 'five' in row 4, no number" in message
    mixed = LONG.replace("2, en, b, 5", "2, en, b, five")
    assert "'five'" in complaint(lambda: read(table(mixed), level="nominal"))
    assert "'inf'" in complaint(lambda: read(table(LONG.replace("2, en, b, 5", "2, en, b, inf"))))


def test_duplicate_rows(table):
    message = complaint(lambda: read(table(LONG + "2, en, a, 3, 3, 3\n")))
    assert "'en/2' rates clip 'a' in the rows 3 and 9" in message
    # The language tells the two listeners called 1 apart.
    message = complaint(lambda: read_ratings(table(LONG), ["user"], "clip", ["joy"]))
    assert "user '1' rates clip 'a' in the rows 1 and 5" in message


def test_duplicates_are_looked_for_among_what_the_filters_keep(table):
    both = LONG + "2, en, a, 3, 3, 1\n"
    assert len(read(table(both), filters=["understanding>=2"]).rater) == 7


def test_values_outside_the_scale(table):
    assert len(read(table(LONG), scale=(1, 5)).rater) == 8
    message = complaint(lambda: read(table(LONG), scale=(2, 5)))
    assert "joy is 1 in row 1, outside --scale 2,5" in message
    # What the filters drop is not looked at.
    assert len(read(table(LONG), scale=(2, 5), filters=["joy>=2"]).rater) == 5


def test_an_unknown_filter_column(table):
    message = complaint(lambda: read(table(LONG), filters=["understands>=3"]))
    assert "no column 'understands'; it has: user, language, clip, joy, sad, understa" in message


def test_a_filter_that_keeps_nothing(table):
    message = complaint(lambda: read(table(LONG), filters=["understanding>5"]))
    assert "--filter 'understanding>5' keeps none of the 8 rows" in message


def test_filters_compare_numbers(table):
    message = complaint(lambda: read(table(LONG), filters=["understanding>=three"]))
    assert "'three' is no number" in message
    message = complaint(lambda: read(table(LONG), filters=["language>=3"]))
    assert "language is 'en' in row 1, no number" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has a header and no ratings"),
        ("user,language,clip,joy,sad\n", "has a header and no ratings"),
        ("user,language,clip,joy\n1,en,a,1\n", "--values: no column 'sad'; it has: user, language"),
        ("user,language,joy,sad\n1,en,1,1\n", "--unit: no column 'clip'"),
        ("user,clip,joy,sad\n1,a,1,1\n", "--rater: no column 'language'"),
        ("user,language,clip,joy,joy,sad\n1,en,a,1,1,1\n", "two columns are named 'joy'"),
        ("user,language,clip,joy,sad\n1,en,a,1,1\n2,en,,1,1\n", "'clip' is empty in row 2"),
        (
            "user,language,clip,joy,sad\n1,en,a,1,1,7,8\n2,en,a,1,1\n",
            "line 2: 7 cells, the header has 5",
        ),
        ("user,language,clip,joy,sad\n1,en,a,1,\n2,en,a,1\n", "line 3: 4 cells, the header has 5"),
    ],
)
def test_tables_that_cannot_be_used(table, text, said):
    assert said in complaint(lambda: read(table(text)))


def test_files_that_cannot_be_read(tmp_path):
    assert "no such file" in complaint(lambda: read(tmp_path / "none.csv"))
    assert "no such file" in complaint(lambda: read(tmp_path / ("x" * 5000)))
    assert "no such file" in complaint(lambda: read(tmp_path))
    (tmp_path / "latin.csv").write_bytes("user,clip\nJosé,a\n".encode("latin-1"))
    assert "not UTF-8 (byte 13)" in complaint(lambda: read(tmp_path / "latin.csv"))


def test_bad_wide_options(table):
    path = table("Song,Arousal_1,Arousal_2\na,1,2\nb,2,2\n")
    message = complaint(lambda: read_wide(path, ["Tension_*"]))
    assert "no column matches --wide 'Tension_*'; it has: Song, Arousal_1" in message
    assert "needs one *" in complaint(lambda: read_wide(path, ["Arousal"]))
    one = table("Song,Arousal_1\na,1\nb,2\n")
    assert "two raters or more" in complaint(lambda: read_wide(one, ["Arousal_*"], unit="Song"))
    twice = table("Song,Arousal_1,Arousal_2\na,1,2\na,2,2\n")
    message = complaint(lambda: read_wide(twice, ["Arousal_*"], unit="Song"))
    assert "rates Song 'a' in the rows 1 and 2" in message


def test_a_group_may_not_be_named_all(table):
    path = table(LONG.replace(" de,", " all,"))
    assert "named 'all'" in complaint(lambda: read(path, by="language"))
