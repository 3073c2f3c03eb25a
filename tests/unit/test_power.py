"""`recitative power`: what could be seen, before and after training; bad asks are one line."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_claims import CONTROLS, MATRIX, simulate

from recitative.cli import cli
from recitative.errors import UserError
from recitative.evaluation.power import (
    SONGS,
    TYPICAL,
    curve,
    smallest,
    songs_for,
    variances_of,
)

SCAE = [n for n in MATRIX + CONTROLS if (n.experiment, n.arch) == ("1", "scae")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project_root: Path) -> Path:
    """Parameters, and nothing in build/."""
    shutil.copy(project_root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["power", *arguments])
    if result.exception:
        raise result.exception
    return result.output


def test_many_songs_leave_the_chance_of_training() -> None:
    """1.96 + 0.84 standard errors, of which two trainings' share stays whatever the songs."""
    known = replace(TYPICAL, cells=10**6)
    least = (1.95996 + 0.84162) * 100 * np.sqrt(2 * known.trainings / 4)
    assert smallest(known, 10**9, 4) == pytest.approx(least, rel=1e-3)
    one_part = replace(known, trainings=0.0, decisions=0.0, shared=0.36)
    assert smallest(one_part, 3600, 2) == pytest.approx((1.95996 + 0.84162) * 1.0, rel=1e-3)


@given(st.integers(2, 5000), st.integers(1, 16), st.integers(1, 16))
def test_more_songs_and_more_repeats_see_more(songs: int, more: int, repeats: int) -> None:
    here = smallest(TYPICAL, songs, repeats)
    assert 0 < here <= 100
    assert smallest(TYPICAL, songs + more, repeats) <= here
    if repeats > 1:
        assert smallest(TYPICAL, songs, repeats + 1) <= here


def test_the_songs_for_a_difference_are_the_fewest_that_see_it_or_out_of_reach() -> None:
    needed = songs_for(TYPICAL, 5, 4)
    assert needed is not None
    assert smallest(TYPICAL, needed, 4) <= 5 < smallest(TYPICAL, needed - 1, 4)
    assert songs_for(TYPICAL, 100, 8) == 2
    assert songs_for(TYPICAL, 1, 2) is None
    assert all(0 < row["points"] <= 100 for row in curve(TYPICAL))


def test_the_variances_are_those_that_were_planted() -> None:
    """Trainings that vary, and decisions that vary, tell apart; fewer songs change neither."""
    calm, wild = (
        variances_of(simulate(SCAE, 1, songs=400, repeats=8, song_noise=n), "simulated")
        for n in (0.1, 1.0)
    )
    assert calm is not None
    assert wild is not None
    assert wild.decisions > 3 * calm.decisions
    assert max(calm.trainings, wild.trainings) ** 0.5 < 0.03  # 1 point was planted
    assert calm.cells == pytest.approx(4, abs=2)  # six pretrained, two controls, by comparison
    fewer = variances_of(simulate(SCAE, 2, songs=100, repeats=8, song_noise=1.0), "simulated")
    assert fewer is not None
    assert fewer.decisions == pytest.approx(wild.decisions, rel=0.2)
    assert variances_of(simulate(SCAE, 1, songs=24, repeats=1), "one repeat") is None


def test_the_table_is_there_before_training_and_says_whose_variances_it_has(project: Path) -> None:
    told = asked("size=paper")
    assert "typical" in told
    assert "As planned, 108 songs a music set and 4 repeats" in told
    rows = [line.split() for line in told.splitlines() if re.match(r" +[\d,]+ +\d", line)]
    assert [int(row[0].replace(",", "")) for row in rows] == sorted({*SONGS, 108})
    assert "out of reach (above 10,000 songs) with 2 repeats" in told
    assert "such an experiment cannot tell it" in told  # of the column of 1 repeat
    larger = re.findall(r"(\d[\d,]*) songs", told)
    assert all(int(count.replace(",", "")) <= 10_000 for count in larger)


def test_what_lies_in_build_is_measured(project: Path) -> None:
    cells = simulate(SCAE, 1, songs=24, repeats=2)
    for name, table in cells.items():
        control = name.pairing.startswith("none2")
        folder = Path("build") / ("controls" if control else "transfer")
        folder /= name.pairing[-3:] if control else name.pairing
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "predictions.csv"
        table.to_csv(path, mode="a", header=not path.exists(), index=False)
    told = asked()
    assert "measured on the cells in build/" in told
    assert "As planned, 24 songs a music set and 2 repeats" in told
    assert "33 songs a music set and 3 repeats" in asked("--songs", "33", "--repeats", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--songs", "0"], "0 songs: a difference needs 2"),
        (["--songs", "-3"], "-3 songs"),
        (["--repeats", "1"], "1 repeat: nothing can tell how much trainings vary"),
        (["transfer.repeats=1"], "1 repeat: nothing can tell"),
        (["--repeats", "0"], "0 repeats"),
        (["--points", "0"], "0 points"),
        (["--points", "101"], "101 points"),
        (["transfer.repeat=4"], "transfer.repeat: no such parameter"),
        (["size=paper,demo"], "a grid; give each name one value"),
        (["paper"], "write NAME=VALUE"),
    ],
)
def test_a_bad_ask_is_one_line(project: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        asked(*arguments)
    assert "\n" not in str(error.value)
