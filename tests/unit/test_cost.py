"""The estimate of the whole: trainings are counted right, times add up, and bad asks are one line."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import tiny
from recitative.cli import cli
from recitative.commands import cost
from recitative.commands.cost import Rates, measure
from recitative.errors import UserError

ROOT = Path(__file__).parents[2]
RATES = Rates(pretrain=100, encode=10, frozen=5, finetune=200, predict=8, memory=1e9)
MACHINE = cost.Machine(
    {"scae": RATES, "cpc": RATES}, audio=8, start=4, run=1, compared=0.1, processes=2
)
PAPER = ("size=paper", "pretrain.arch=scae,cpc", "balance.speech_hours=3,30")


def grid(*overrides: str) -> list:
    return list(cost.experiments(ROOT / "params.yaml", overrides))


def lines(*overrides: str) -> dict[str, cost.Line]:
    ((_, params),) = grid(*overrides)
    return {line.what: line for line in cost.estimate(params, MACHINE)}


def test_the_papers_matrix_is_192_transfers_after_12_pretrainings() -> None:
    found = grid(*PAPER)
    assert [name for name, _ in found][1] == (
        "size=paper pretrain.arch=scae balance.speech_hours=30"
    )
    every = [{line.what: line for line in cost.estimate(p, MACHINE)} for _, p in found]
    assert sum(one["transfer"].trainings for one in every) == 192
    assert sum(one["pretrain"].trainings for one in every) == 12
    assert every[1]["pretrain"].work == pytest.approx(10 * every[0]["pretrain"].work, rel=0.01)
    assert every[1]["transfer"].work == every[0]["transfer"].work


def test_work_follows_the_parameters() -> None:
    held = "split.scheme=holdout"
    once, twice = lines(held, "transfer.repeats=1"), lines(held, "transfer.repeats=2")
    assert twice["transfer"].trainings == 2 * once["transfer"].trainings
    assert twice["transfer"].work > 1.8 * once["transfer"].work
    assert twice["pretrain"] == once["pretrain"]
    assert "search" not in lines("search.trials=0")
    folds = lines("split.scheme=grouped_folds", "split.folds=5")
    assert folds["transfer"].trainings == 5 * twice["transfer"].trainings
    epochs = [lines(f"pretrain.epochs={n}")["pretrain"].work for n in (1, 2, 3)]
    assert epochs[2] - epochs[1] == pytest.approx(epochs[1] - epochs[0])


def test_what_a_grid_shares_is_counted_once() -> None:
    found = grid("pretrain.arch=scae,cpc")
    features = next(iter(cost.estimate(found[0][1], MACHINE)))
    assert cost._shared(found, MACHINE) == features.wall
    assert cost._shared(grid("balance.speech_hours=1,2"), MACHINE) == 0
    one, two = cost._disk(found[:1]), cost._disk(grid("balance.speech_hours=1,2"))
    assert 0 < one < two


@given(
    st.lists(st.floats(min_value=0, max_value=1e4), min_size=1, max_size=30),
    st.integers(min_value=1, max_value=8),
)
def test_no_clock_beats_the_cores_and_one_process_takes_it_all(
    tasks: list[float], side: int
) -> None:
    wall = cost.makespan(tasks, side)
    assert wall >= max(tasks) * (1 - 1e-12)
    assert wall * side >= sum(tasks) * (1 - 1e-9)
    assert wall <= sum(tasks) / side + max(tasks) * (1 + 1e-9)  # Graham's bound
    assert cost.makespan(tasks, 1) == pytest.approx(sum(tasks))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pretrain.arch", "write NAME=VALUE"),
        ("pretrain.architecture=scae", "no such parameter; `recitative params` lists them"),
        ("nothing=1", "no such parameter"),
        ("pretrain.epochs=many", "pretrain.epochs"),
    ],
)
def test_a_bad_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        grid(override)


def test_all_there_is_needs_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = grid("balance.speech_hours=null")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run `recitative index`"):
        list(cost.estimate(found[0][1], MACHINE))


@pytest.mark.parametrize("arch", ["scae", "cpc", "emotion"])
def test_rates_are_measured_of_the_real_work(arch: str) -> None:
    ((_, params),) = grid(f"pretrain.arch={arch}", f"features.n_mels={tiny.BANDS}")
    fit = {"epochs": 50, "batch_size": 64}
    classifier = params.transfer.classifier.model_copy(update={"trunk": (8,), "block": (8,)})
    small = {
        "encoder": tiny.ENCODER, arch: tiny.CONFIGS[arch],
        "features": params.features.model_copy(
            update={"segment_frames": tiny.FRAMES, "segment_hop": tiny.HOP}
        ),
        "pretrain": params.pretrain.model_copy(update=fit),
        "transfer": params.transfer.model_copy(
            update={
                "classifier": classifier, "frozen": params.transfer.frozen.model_copy(update=fit),
                "finetune": params.transfer.finetune.model_copy(update=fit),
            }
        ),
        "compute": params.compute.model_copy(update={"device": "cpu"}),
    }  # fmt: skip
    rates = measure(params.model_copy(update=small))
    assert all(value > 0 for value in vars(rates).values())


def test_the_table_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "calibrate", lambda _: MACHINE)
    monkeypatch.chdir(ROOT)
    said = CliRunner().invoke(cli, ["cost", *PAPER]).output
    assert said.count("pretrain  ") == 4
    assert "4 experiments:" in said
    assert "features shared" in said
