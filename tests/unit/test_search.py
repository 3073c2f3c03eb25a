"""The search: the same trials whoever trains them and whoever is killed; refusals; one page."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from recitative.errors import UserError
from recitative.experiment.searched import searchable, space_of, with_best, with_values
from recitative.files import write_json
from recitative.learning.search import generations, study
from recitative.learning.search.generations import Outcome
from recitative.learning.search.space import Dimension, SearchConfig
from recitative.params import load_params
from recitative.reports.search_page import write_search_page

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

ROOT = Path(__file__).parents[2]
SPACE = {
    "x": Dimension(kind="uniform", values=(-2.0, 2.0)),
    "scale": Dimension(kind="log_uniform", values=(1e-4, 1.0)),
    "n": Dimension(kind="int", values=(1, 5)),
    "way": Dimension(kind="categorical", values=("a", "b")),
}


def plan(trials: int = 8, maximize: bool = False, space: Any = SPACE, **config: Any) -> study.Plan:
    usual = {"trials": trials, "epochs": 3, "startup": 3, "pruner": "none"}
    return study.Plan("study", space, maximize, 7, SearchConfig(**(usual | config)))


def depth(v: dict[str, Any]) -> float:
    return (v["x"] - 0.5) ** 2 + (math.log10(v["scale"]) + 2) ** 2 + v["n"] + (v["way"] == "a")


def bowl(trial: Any, until: int) -> Outcome:
    losses = [depth(trial.params) + 1 / epoch for epoch in range(1, until + 1)]
    return Outcome(losses, losses)


One = Callable[[Any, int], Outcome]


def run(planned: study.Plan, path: Path, train: One = bowl, earlier: Sequence[Path] = ()) -> Any:
    """A search in this process."""
    begun = study.open_study(path, planned, earlier)
    generations.run(begun, planned, lambda trials, until: [train(one, until) for one in trials])
    return begun


def rows(begun: Any, planned: study.Plan) -> list[dict[str, Any]]:
    return study.table(begun, planned)


def scripted(losses: dict[int, list[float]]) -> One:
    """Each trial's losses, epoch by epoch, by its number; all others fall from 5."""

    def train(trial: Any, until: int) -> Outcome:
        script = losses.get(trial.number, [5.0, 4.0, 3.0])[:until]
        return Outcome(script, script)

    return train


# --- generations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pruner", ["halving", "none"])
@pytest.mark.parametrize("trials", [1, 4, 7, 10])
def test_exactly_the_trials_asked_for_in_generations(
    pruner: str, trials: int, tmp_path: Path
) -> None:
    planned = plan(trials, pruner=pruner, sampler="random")
    table = rows(run(planned, tmp_path / "j"), planned)
    assert [row["trial"] for row in table] == list(range(trials))
    assert [row["generation"] for row in table] == [number // 4 for number in range(trials)]
    assert {row["state"] for row in table} <= {"complete", "pruned"}
    assert pruner == "halving" or not Counter(row["state"] for row in table)["pruned"]


def test_the_worse_half_of_a_generation_stops_when_all_have_come_as_far(tmp_path: Path) -> None:
    planned, asked = plan(4, pruner="halving", epochs=5), []

    def train(trial: Any, until: int) -> Outcome:
        asked.append((trial.number, until))
        losses = [trial.number % 2 + 1 / epoch for epoch in range(1, until + 1)]
        return Outcome(losses, losses)

    table = rows(run(planned, tmp_path / "j", train), planned)
    assert asked == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2), (0, 4), (0, 5)]
    assert [row["state"] for row in table] == ["complete", "pruned", "pruned", "pruned"]
    assert [row["epochs"] for row in table] == [5, 1, 2, 1]
    assert table[1]["reason"] == "halving: 2 after epoch 1, number 3 of 4"
    assert (
        table[2]["reason"] == "halving: 0.5 after epoch 2, number 2 of 2"
    )  # a tie: the first stays


@pytest.mark.parametrize("maximize", [True, False])
def test_a_trial_is_worth_its_best_epoch(maximize: bool, tmp_path: Path) -> None:
    planned = plan(4, maximize=maximize)

    def train(trial: Any, until: int) -> Outcome:
        objectives = [trial.number + value for value in (0.3, 0.9, 0.6)]
        return Outcome(objectives[:until], [3.0, 2.0, 1.0][:until])

    table = rows(run(planned, tmp_path / "j", train), planned)
    assert [row["value"] for row in table] == [n + (0.9 if maximize else 0.3) for n in range(4)]


def test_what_a_pruned_trial_is_worth_is_its_best_epoch_too(tmp_path: Path) -> None:
    planned = plan(4, pruner="halving", epochs=5, maximize=True)

    def train(trial: Any, until: int) -> Outcome:
        objectives = [0.9 - trial.number / 10, 0.1, 0.2, 0.3, 0.4]
        return Outcome(objectives[:until], [3.0] * until)

    table = rows(run(planned, tmp_path / "j", train), planned)
    assert [row["value"] for row in table] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert [row["epochs"] for row in table] == [5, 2, 1, 1]


# --- a diverged trial -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([0.1, 0.2, 34.8], "diverged: loss 0.2 after epoch 2, 0.1 after the first"),
        ([0.1, 0.05, 34.8], "diverged: loss 34.8 after epoch 3"),
        ([0.1, 0.2, 0.01], "after epoch 2"),  # one that comes back has no luck either
        ([0.1, math.nan, 0.1], "loss nan after epoch 2"),
        ([math.inf], "loss inf after epoch 1"),
    ],
)
@pytest.mark.parametrize("pruner", ["halving", "none"])
def test_a_diverged_trial_cannot_win(
    losses: list[float], says: str, pruner: str, tmp_path: Path
) -> None:
    planned = plan(8, pruner=pruner, sampler="random", generation=4)
    begun = run(planned, tmp_path / "j", scripted({1: losses, 2: [4.0, 3.0, 2.0]}))
    table = rows(begun, planned)
    assert table[1]["state"] == "fail"
    assert says in table[1]["reason"]
    assert table[1]["value"] is None
    assert sum(row["state"] in ("complete", "pruned") for row in table) == 8
    assert len(table) == 9  # another one was asked for
    complete = [row for row in table if row["state"] == "complete"]
    assert min(row["value"] for row in complete) > 1


def test_a_loss_at_chance_level_wanders_and_does_not_fail(tmp_path: Path) -> None:
    planned, chance = plan(4), [0.693147, 0.697732, 0.693150]
    begun = run(planned, tmp_path / "j", scripted(dict.fromkeys(range(4), chance)))
    assert {row["state"] for row in rows(begun, planned)} == {"complete"}


def test_a_rising_loss_fails_where_accuracy_is_what_counts(tmp_path: Path) -> None:
    planned = plan(2, maximize=True)

    def train(trial: Any, until: int) -> Outcome:
        losses = [1.0, 2.0, 3.0] if trial.number == 0 else [1.0, 0.9, 0.8]
        return Outcome([0.9, 0.9, 0.9][:until], losses[:until])

    assert [row["state"] for row in rows(run(planned, tmp_path / "j", train), planned)] == [
        "fail", "complete", "complete",
    ]  # fmt: skip


def test_when_every_trial_fails_the_search_ends_with_one_line(tmp_path: Path) -> None:
    planned = plan(4)
    with pytest.raises(UserError) as raised:
        run(planned, tmp_path / "j", lambda trial, until: Outcome(error="the loss is nan"))
    assert "4 trials failed and 0 finished, the last failed because: the loss is nan" in str(
        raised.value
    )
    assert "\n" not in str(raised.value)
    more = plan(8)  # with more trials asked for there is room for more failures
    table = rows(run(more, tmp_path / "k", bowl, [tmp_path / "j"]), more)
    assert Counter(row["state"] for row in table) == {"fail": 4, "complete": 8}


# --- the sampler ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_a_kill_changes_no_value(sampler: str, tmp_path: Path) -> None:
    """At every line of the journal: what is there then goes on to the same trials."""
    planned = plan(9, sampler=sampler, pruner="halving", generation=3)
    script = scripted({3: [1.0, 2.0]})  # one fails

    def train(trial: Any, until: int) -> Outcome:
        return script(trial, until) if trial.number == 3 else bowl(trial, until)

    whole = rows(run(planned, tmp_path / "whole", train), planned)
    assert len({tuple(row[name] for name in SPACE) for row in whole}) == len(whole) == 10
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    step = 1 if sampler == "random" else 9
    for kept in range(0, len(lines), step):
        path = tmp_path / f"cut-{kept}"
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        assert rows(run(planned, path, train), planned) == whole, kept


def test_a_gaussian_process_learns_from_generations(tmp_path: Path) -> None:
    near = {}
    for name in ("gp", "random"):
        planned = plan(24, sampler=name, startup=8, space={n: SPACE[n] for n in ("x", "scale")})

        def train(trial: Any, until: int) -> Outcome:
            return bowl(SimpleNamespace(params={"n": 1, "way": "b"} | trial.params), until)

        table = rows(run(planned, tmp_path / name, train), planned)
        near[name] = sorted(row["value"] - 4 / 3 for row in table[8:])[8]
    assert near["gp"] < near["random"] / 2


def test_the_seed_and_the_name_decide_the_trials(tmp_path: Path) -> None:
    first = rows(run(plan(2), tmp_path / "a"), plan(2))
    again = rows(run(plan(2), tmp_path / "b"), plan(2))
    assert first == again
    other = study.Plan("study", SPACE, False, 8, plan(2).config)
    assert rows(run(other, tmp_path / "c"), other)[0]["x"] != first[0]["x"]


# --- the journal ----------------------------------------------------------------------------------


def test_more_trials_go_on_from_the_earlier_ones(tmp_path: Path) -> None:
    """And what comes of a plan does not depend on what was searched before it."""
    few, more, calls = plan(4), plan(8), []

    def train(trial: Any, until: int) -> Outcome:
        calls.append(trial.number)
        return bowl(trial, until)

    fresh = rows(run(more, tmp_path / "fresh"), more)
    run(few, tmp_path / "4", train)
    assert rows(run(more, tmp_path / "8", train, [tmp_path / "4"]), more) == fresh
    assert calls == list(range(8))
    fewer = run(few, tmp_path / "again", train, [tmp_path / "8"])
    assert rows(fewer, few) == fresh[:4]
    uneven = plan(6)  # its second generation has two trials: of 8 there would be four
    run(uneven, tmp_path / "6", train, [tmp_path / "8"])
    assert calls == [*range(8), 4, 5]
    assert rows(run(more, tmp_path / "from-6", train, [tmp_path / "6"]), more) == fresh


def test_another_study_in_a_journal_is_not_taken_over(tmp_path: Path) -> None:
    run(plan(2), tmp_path / "j")
    other = study.Plan("other", SPACE, False, 7, plan(2).config)
    assert not rows(study.open_study(tmp_path / "k", other, [tmp_path / "j"]), other)
    assert not rows(study.open_study(tmp_path / "l", other, [tmp_path / "none"]), other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "k", "l"]


@pytest.mark.parametrize("damage", [b"\x00\x00 no json \n", b"[]\n", b"{}\n"])
@pytest.mark.parametrize("line", [1, -1])
def test_a_damaged_journal_is_refused_with_its_line(
    damage: bytes, line: int, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    run(plan(2), journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[line] = damage
    journal.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=rf"j:{line % len(lines) + 1}: .*damaged.*move it away"):
        study.open_study(journal, plan(2))


# --- params.yaml ----------------------------------------------------------------------------------


@pytest.fixture
def params_with(tmp_path: Path) -> Callable[..., Any]:
    def load(changes: dict[str, Any], arch: str = "scae") -> Any:
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        values["pretrain"]["arch"] = arch
        values["search"] |= changes
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        return load_params(tmp_path / "params.yaml")

    return load


@pytest.mark.parametrize(
    ("dimension", "says"),
    [
        ({"kind": "uniform", "values": [1, 0]}, "upside down: low 1 is not below high 0"),
        ({"kind": "uniform", "values": [1, 1]}, "upside down"),
        ({"kind": "log_uniform", "values": [0, 1]}, "starts above 0, low is 0"),
        ({"kind": "log_uniform", "values": [-1, 1]}, "starts above 0, low is -1"),
        ({"kind": "uniform", "values": [1]}, "not two numbers"),
        ({"kind": "uniform", "values": ["low", "high"]}, "not two numbers"),
        ({"kind": "int", "values": [1, 2.5]}, "not two integers"),
        ({"kind": "categorical", "values": []}, "no choice"),
        ({"kind": "normal", "values": [0, 1]}, "'log_uniform', 'uniform', 'int' or 'categorical'"),
        ({"kind": "int", "values": [1, 2], "log": True}, "no such parameter"),
    ],
)
def test_an_impossible_dimension_is_refused(
    dimension: dict[str, Any], says: str, params_with: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=says) as raised:
        params_with({"space": {"scae": {"learning_rate": dimension}}})
    assert "params.yaml: search.space.scae.learning_rate" in str(raised.value)


def test_yaml_without_a_point_is_a_number_too(params_with: Callable[..., Any]) -> None:
    """PyYAML reads 1e-4 as text."""
    space = {"scae": {"learning_rate": {"kind": "log_uniform", "values": ["1e-4", "1e-2"]}}}
    assert space_of(params_with({"space": space}))["learning_rate"].bounds == (1e-4, 1e-2)


@pytest.mark.parametrize("name", ["sampler", "pruner", "language"])
def test_an_unknown_choice_lists_the_known(name: str, params_with: Callable[..., Any]) -> None:
    known = {
        "sampler": "'gp', 'tpe' or 'random'",
        "pruner": "'halving' or 'none'",
    }
    with pytest.raises(UserError, match=known.get(name, "'eng', 'man' or 'mix'")) as raised:
        params_with({name: "astrology"})
    assert f"search.{name}" in str(raised.value)
    assert "astrology" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("workers", 2, "compute.workers"),
        ("storage", "journal", "compute.backend: ray or dask"),
        ("heartbeat", 30, "compute.backend: ray or dask"),
        ("pruner", "hyperband", "'halving' or 'none'"),
        ("pruner", "median", "'halving' or 'none'"),
    ],
)
def test_an_old_parameter_is_refused_with_what_to_use(
    name: str, value: Any, says: str, params_with: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=rf"params.yaml: search.{name}: .*{says}"):
        params_with({name: value})


def test_an_unknown_parameter_lists_the_known(params_with: Callable[..., Any]) -> None:
    params = params_with({"space": {"scae": {"momentum": {"kind": "uniform", "values": [0, 1]}}}})
    with pytest.raises(UserError, match="space.scae.momentum: .*known: learning_rate.*noise"):
        space_of(params)
    with pytest.raises(UserError, match="over: momentum is not in search.space.scae; there: lea"):
        space_of(params_with({"over": ["momentum"]}))
    with pytest.raises(UserError, match="nothing to search"):
        space_of(params_with({"space": {}, "over": "all"}))


@pytest.mark.parametrize(
    ("arch", "name", "dimension", "says"),
    [
        ("cpc", "gap", {"kind": "uniform", "values": [1, 3]}, "integer"),
        ("cpc", "gap", {"kind": "int", "values": [-1, 3]}, "greater than or equal to 0"),
        ("scae", "learning_rate", {"kind": "uniform", "values": [0, 1]}, "greater than 0"),
        ("scae", "dropout", {"kind": "uniform", "values": [0, 1]}, "less than 1"),
        (
            "cpc",
            "negatives",
            {"kind": "categorical", "values": ["released", "no"]},
            "cpc.negatives",
        ),
    ],
)
def test_what_a_section_does_not_take_cannot_be_searched(
    arch: str, name: str, dimension: dict[str, Any], says: str, params_with: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=says) as raised:
        space_of(params_with({"space": {arch: {name: dimension}}, "over": "all"}, arch))
    assert f"search.space.{arch}.{name}" in str(raised.value)


def test_the_project_searches_what_the_paper_and_more(params_with: Callable[..., Any]) -> None:
    assert list(space_of(params_with({}))) == ["learning_rate", "decay", "noise", "dropout"]
    cpc = params_with({}, "cpc")
    assert list(space_of(cpc)) == ["learning_rate", "decay", "gap", "context"]
    assert space_of(cpc)["gap"].bounds[0] >= 1  # nothing overlaps (C4)
    found = with_values(cpc, {"gap": 2, "dropout": 0.1, "decay": 0.5})
    assert (found.cpc.gap, found.encoder.dropout, found.pretrain.decay) == (2, 0.1, 0.5)
    assert searchable(cpc)["context"] == "cpc"


def test_pretraining_reads_the_best_of_its_own_architecture(
    params_with: Callable[..., Any], tmp_path: Path
) -> None:
    params, best = params_with({}), tmp_path / "best.yaml"
    off = params_with({"trials": 0})
    assert with_best(off, best) == (off, {"values_from": "params.yaml"})
    with pytest.raises(UserError, match="no such file; run `recitative search`"):
        with_best(params, best)
    best.write_text("{}\n")
    with pytest.raises(UserError, match=r"run\.json: no such file; run `recitative search`"):
        with_best(params, best)
    write_json(tmp_path / "run.json", {})
    with pytest.raises(UserError, match="no search in it"):
        with_best(params, best)
    values = {"learning_rate": 0.005, "noise": 0.2}
    best.write_text(yaml.safe_dump({"arch": "scae", "study": "s", "trial": 3, "values": values}))
    write_json(tmp_path / "run.json", {"run_id": "parent", "trials": {"3": "child"}})
    found, tags = with_best(params, best)
    assert (found.pretrain.learning_rate, found.scae.noise) == (0.005, 0.2)
    assert found.pretrain.decay == params.pretrain.decay
    assert tags["search_study"] == "s"
    assert tags["search_trial_run_id"] == "child"
    best.write_text(yaml.safe_dump({"arch": "emotion", "study": "e", "trial": 3, "values": {}}))
    for arch in ("emotion", "shuffled_emotions"):  # the control has the values of its twin
        assert with_best(params_with({}, arch), best)[1]["search_study"] == "e"
    best.write_text(yaml.safe_dump({"arch": "scae", "study": "s", "trial": 3, "values": values}))
    with pytest.raises(UserError, match="the search of scae, pretrain.arch is cpc"):
        with_best(params_with({}, "cpc"), best)


# --- to look at -----------------------------------------------------------------------------------


def test_the_page_holds_every_figure_and_plotly_once(tmp_path: Path) -> None:
    planned = plan(8)
    drawn = study.figures(run(planned, tmp_path / "j"), planned, "loss <b>")
    assert len(drawn) == 6
    write_search_page(tmp_path / "page.html", "T <i>", {"best": "<b>"}, drawn)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("Plotly.newPlot(") == 6 + page.split("</script>")[0].count("Plotly.newPlot(")
    assert page.count("plotly.js v") == 1
    assert "src=" not in page.split("</script>", 1)[1]  # nothing is fetched
    assert "<i>" not in page.split("</script>", 1)[1]
    for title in drawn:
        assert f"<h2>{title}</h2>" in page


def test_few_trials_are_drawn_as_far_as_they_go(tmp_path: Path) -> None:
    for trials, pruner, count in ((1, "none", 3), (7, "none", 3), (12, "halving", 3)):
        planned = plan(trials, pruner=pruner, sampler="random")
        path = tmp_path / f"{trials}"
        assert len(study.figures(run(planned, path), planned, "loss")) == count
    one = plan(8, space={"x": SPACE["x"]})

    def line(trial: Any, until: int) -> Outcome:
        return Outcome([trial.params["x"]] * until, [1.0] * until)

    assert len(study.figures(run(one, tmp_path / "one", line), one, "loss")) == 5
    same = run(one, tmp_path / "same", lambda trial, until: Outcome([1.0] * until, [1.0] * until))
    assert len(study.figures(same, one, "loss")) == 3


@pytest.mark.parametrize("maximize", [True, False])
def test_one_bad_trial_does_not_press_the_others_together(maximize: bool, tmp_path: Path) -> None:
    sign, planned = -1 if maximize else 1, plan(8, maximize=maximize)

    def train(trial: Any, until: int) -> Outcome:
        value = 1e6 if trial.number == 2 else 1 + trial.number / 10
        return Outcome([sign * value] * until, [1.0] * until)

    drawn = study.figures(run(planned, tmp_path / "j", train), planned, "loss")
    for title in (
        "Optimisation history",
        "Every trial, epoch by epoch",
        "Each parameter by itself",
    ):
        low, high = sorted(sign * end for end in drawn[title].layout.yaxis.range)
        assert 0.9 < low < 1
        assert 1.7 < high < 3
    calm = study.figures(run(planned, tmp_path / "k", scripted({})), planned, "loss")
    assert all(calm[title].layout.yaxis.range is None for title in list(calm)[:1])
