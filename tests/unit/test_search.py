"""The search: exactly the trials asked for, whoever dies; refusals; one page with plotly once."""

import json
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from recitative.errors import UserError
from recitative.experiment.searched import searchable, space_of, with_best, with_values
from recitative.learning import search
from recitative.learning.search import sampling, storage, workers
from recitative.learning.space import Dimension
from recitative.params import load_params
from recitative.reports.search_page import write_search_page

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed"),
]

ROOT = Path(__file__).parents[2]
SPACE = {
    "x": Dimension(kind="uniform", values=(-2.0, 2.0)),
    "scale": Dimension(kind="log_uniform", values=(1e-4, 1.0)),
    "n": Dimension(kind="int", values=(1, 5)),
    "way": Dimension(kind="categorical", values=("a", "b")),
}


def plan(storage: Path | str, name: str = "study", **changes: Any) -> search.Plan:
    values = {
        "family": "family", "space": SPACE, "maximize": False, "epochs": 3, "seed": 7,
        "startup": 3, "pruner": "none", **changes,
    }  # fmt: skip
    return search.Plan(str(storage), name, **values)


def bowl(trial: search.Trial) -> float:
    v = trial.values
    depth = (v["x"] - 0.5) ** 2 + (math.log10(v["scale"]) + 2) ** 2 + v["n"] + (v["way"] == "a")
    for epoch in (1, 2, 3):
        trial.report(epoch, depth + 1 / epoch)
    return depth + 1 / 3


def run(planned: search.Plan, total: int, objective: search.Objective = bowl) -> Any:
    study = search.open_study(planned)
    search.work(planned, objective, total)
    return study


def states(study: Any) -> list[str]:
    return [trial.state.name for trial in study.trials]


# --- the number of trials -------------------------------------------------------------------------


def test_total_not_additional(tmp_path: Path) -> None:
    planned = plan(tmp_path / "journal.log")
    run(planned, 3)
    study = run(planned, 5)
    assert states(study) == ["COMPLETE"] * 5
    assert states(run(planned, 4)) == ["COMPLETE"] * 5


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_pruned_trials_are_finished_and_say_why(tmp_path: Path, pruner: str) -> None:
    study = run(plan(tmp_path / "journal.log", pruner=pruner, name="s"), 12)
    progress = search.progress(study)
    assert progress.finished == 12
    rows = search.table(study, list(SPACE))
    assert {row["state"] for row in rows} == {"complete", "pruned"}
    assert all(pruner in row["reason"] for row in rows if row["state"] == "pruned")
    assert all(row["epochs"] == 1 for row in rows if row["state"] == "pruned")
    assert search.best(study).value == min(r["value"] for r in rows if r["state"] == "complete")


def test_a_median_prunes_what_is_worse(tmp_path: Path) -> None:
    study = run(plan(tmp_path / "j", pruner="median", sampler="random"), 12)
    assert "PRUNED" in states(study)


def test_best_of_what_is_maximised(tmp_path: Path) -> None:
    study = run(plan(tmp_path / "j", maximize=True), 4, lambda trial: trial.values["x"])
    assert search.best(study).values["x"] == max(trial.params["x"] for trial in study.trials)


@pytest.mark.parametrize("bad", [math.nan, math.inf, UserError("the loss is nan after epoch 0")])
def test_a_failed_trial_is_counted_and_the_study_goes_on(bad: Any, tmp_path: Path) -> None:
    def sometimes(trial: search.Trial) -> float:
        if trial.number == 1:
            if isinstance(bad, Exception):
                raise bad
            return float(bad)
        return bowl(trial)

    study = run(plan(tmp_path / "j"), 4, sometimes)
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    [reason] = search.progress(study).reasons
    assert "nan" in reason or "inf" in reason


def test_a_reported_nan_fails_the_trial(tmp_path: Path) -> None:
    def report(trial: search.Trial) -> float:
        trial.report(1, math.nan if trial.number == 0 else 1.0)
        return 1.0

    study = run(plan(tmp_path / "j"), 2, report)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert "after epoch 1 is nan" in search.progress(study).reasons[0]


def test_when_every_trial_fails_the_work_ends(tmp_path: Path) -> None:
    def never(trial: search.Trial) -> float:
        raise RuntimeError("no memory")

    study = run(plan(tmp_path / "j"), 3, never)
    progress = search.progress(study)
    assert progress.hopeless(3)
    assert progress.reasons == ["no memory"] * 3
    # What failed in an earlier search is not held against the next one.
    search.work(plan(tmp_path / "j"), bowl, 3, since=len(study.trials))
    assert search.progress(study).finished == 3
    with pytest.raises(UserError, match="no complete trial"):
        search.best(run(plan(tmp_path / "other"), 2, never))


# --- the sampler goes on --------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_the_next_suggestion_is_a_function_of_the_history(sampler: str, tmp_path: Path) -> None:
    whole = run(plan(tmp_path / "whole", sampler=sampler), 8)
    for total in (2, 5, 8):  # started anew twice
        parts = run(plan(tmp_path / "parts", sampler=sampler), total)
    assert [trial.params for trial in parts.trials] == [trial.params for trial in whole.trials]
    assert len({tuple(trial.params.values()) for trial in whole.trials}) == 8
    other = run(plan(tmp_path / "other", sampler=sampler, seed=8), 3)
    assert other.trials[0].params != whole.trials[0].params


def test_a_gaussian_process_learns_from_the_pruned_and_survives_a_divergence(
    tmp_path: Path,
) -> None:
    """Optuna's own would see the complete trials of one Hyperband bracket, and one huge value."""

    def training(trial: search.Trial) -> float:
        away = math.log10(trial.values["scale"]) + 3
        value = away**2 if away < 1 else 10.0 ** (4 * away)
        for epoch in (1, 2, 3):
            trial.report(epoch, value + 1 / epoch)
        return value

    one = {"scale": SPACE["scale"]}
    near = {}
    for sampler in ("gp", "random"):
        planned = plan(tmp_path / sampler, pruner="halving", space=one, sampler=sampler)
        study = run(planned, 14, training)
        found = [abs(math.log10(trial.params["scale"]) + 3) for trial in study.trials[6:]]
        near[sampler] = sum(distance < 0.5 for distance in found)
        assert {"PRUNED", "COMPLETE"} <= set(states(study))
    assert near["gp"] >= 6 > near["random"]


def test_a_sampler_that_breaks_ends_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a trial of its own there is nothing to go on with."""

    def broken(self: Any, study: Any, trial: Any) -> None:
        raise KeyError("broken")

    planned = plan(tmp_path / "j")
    search.open_study(planned)
    monkeypatch.setattr(sampling.OneATrial, "before_trial", broken)
    with pytest.raises(KeyError, match="broken"):
        search.work(planned, bowl, 2)


def test_a_sampler_that_cannot_draw_is_a_failure_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna 5 draws when a value is asked for: a failure without a reason would go on for ever."""

    def broken(self: Any, study: Any, trial: Any, name: str, distribution: Any) -> None:
        raise KeyError("no such trial")

    planned = plan(tmp_path / "j")
    monkeypatch.setattr(sampling.OneATrial, "sample_independent", broken)
    study = run(planned, 3)
    assert states(study) == ["FAIL"] * 3
    assert search.progress(study).reasons == ["'no such trial'"] * 3


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_failed_trials_in_the_history_do_not_stop_the_sampler(sampler: str, tmp_path: Path) -> None:
    def often(trial: search.Trial) -> float:
        if trial.number in (0, 2, 4, 6):
            raise RuntimeError("no memory")
        return bowl(trial)

    study = run(plan(tmp_path / "j", sampler=sampler), 6, often)
    assert search.progress(study).reasons == ["no memory"] * 4
    assert search.progress(study).finished == 6


# --- death ----------------------------------------------------------------------------------------


def die_in(planned: search.Plan, number: int) -> None:
    """A worker process that is gone in the middle of a trial."""

    def objective(trial: search.Trial) -> float:
        if trial.number == number:
            import os
            import signal

            trial.report(1, 1.0)
            os.kill(os.getpid(), signal.SIGKILL)
        return bowl(trial)

    search.work(planned, objective, 5)


@pytest.mark.parametrize("number", [0, 2])
def test_the_trial_of_a_dead_worker_is_retried(number: int, tmp_path: Path) -> None:
    planned = plan(tmp_path / "j")
    study = search.open_study(planned)
    process = multiprocessing.get_context("fork").Process(target=die_in, args=(planned, number))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert states(study)[number] == "RUNNING"
    search.work(planned, bowl, 5)
    found = states(study)
    assert found.count("COMPLETE") == 5
    assert found.count("FAIL") == 1
    assert found[number] == "FAIL"
    [again] = [row for row in search.table(study, list(SPACE)) if row["retry_of"] is not None]
    assert again["retry_of"] == number
    assert study.trials[again["trial"]].params == study.trials[number].params
    assert "died" in search.table(study, list(SPACE))[number]["reason"]
    assert not search.progress(study).reasons  # its worker's death is not the trial's failure


def test_the_trial_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    planned = plan(tmp_path / "j")
    study = search.open_study(planned)
    trial = study.ask()
    trial.set_user_attr("worker", "elsewhere-1")
    life = tmp_path / "j.workers" / "elsewhere-1"
    life.parent.mkdir()
    with FileLock(life):
        search.work(planned, bowl, 3)
        assert states(study) == ["RUNNING", "COMPLETE", "COMPLETE"]
        assert not search.claimable(planned, study, 3)
    assert search.claimable(planned, study, 3)


def test_a_claim_that_died_before_it_named_a_worker_is_retried(tmp_path: Path) -> None:
    planned = plan(tmp_path / "j")
    study = search.open_study(planned)
    study.ask()
    search.work(planned, bowl, 2)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_what_kills_every_worker_is_not_retried_for_ever(tmp_path: Path) -> None:
    planned = plan(tmp_path / "j")
    study = search.open_study(planned)
    for _ in range(6):
        study.ask()
        search.claimable(planned, study, 3)
    waiting = [trial for trial in study.trials if trial.state == TrialState.WAITING]
    assert all(len(trial.system_attrs["retry_history"]) <= 3 for trial in waiting)


def test_an_interrupted_trial_is_for_another_to_finish(tmp_path: Path) -> None:
    def interrupted(trial: search.Trial) -> float:
        raise KeyboardInterrupt

    planned = plan(tmp_path / "j")
    study = search.open_study(planned)
    with pytest.raises(KeyboardInterrupt):
        search.work(planned, interrupted, 2)
    assert states(study) == ["FAIL", "WAITING"]
    search.work(planned, bowl, 2)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].params == study.trials[0].params


@pytest.mark.parametrize("storage", ["journal.log", "sqlite:///{}/study.db"])
def test_a_trial_taken_for_dead_meanwhile_counts_once(storage: str, tmp_path: Path) -> None:
    """A machine is suspended in a trial; when it wakes up, another has failed and retried it."""
    address = storage.format(tmp_path) if "://" in storage else str(tmp_path / storage)
    planned = plan(address)
    study = search.open_study(planned)

    def suspended(trial: search.Trial) -> float:
        if trial.number == 0:
            study.tell(0, state=TrialState.FAIL)
        return bowl(trial)

    search.work(planned, suspended, 2)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_one_too_many_withdraws(tmp_path: Path) -> None:
    """On a database there is no lock: a worker may learn only after its claim that it came late."""
    planned = plan(f"sqlite:///{tmp_path}/study.db")
    study = search.open_study(planned)
    runner = workers._Runner(planned, study, bowl, 2, "late", storage.claim_lock(planned))
    for _ in range(2):
        study.ask()  # two others claimed between the count and the claim
    study.optimize(runner, n_trials=1, catch=(Exception,))
    assert states(study) == ["RUNNING", "RUNNING", "FAIL"]
    assert search.table(study, [])[2]["state"] == "withdrawn"
    assert not search.progress(study).reasons


@given(st.lists(st.tuples(st.sampled_from("acf"), st.integers(0, 9)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_order_of_events_overshoots(events: list[tuple[str, int]]) -> None:
    """The rule of `_Runner`, alone: keep a trial if fewer than `total` before it are not failed."""
    total, trials, unchecked = 3, [], []
    for kind, which in events:
        if kind == "a":  # ask
            trials.append("running")
            unchecked.append(len(trials) - 1)
        elif kind == "c" and unchecked:  # a worker looks, sooner or later
            number = unchecked.pop(which % len(unchecked))
            late = sum(state != "fail" for state in trials[:number]) >= total
            trials[number] = "fail" if late else "kept"
        elif kind == "f" and "kept" in trials:  # it fails, or ends
            kept = [i for i, state in enumerate(trials) if state == "kept"]
            trials[kept[which % len(kept)]] = "fail" if which % 2 else "done"
        assert sum(state in ("kept", "done") for state in trials) <= total


def _begin(planned: search.Plan, barrier: Any) -> None:
    barrier.wait()
    search.open_study(planned)
    search.work(planned, bowl, 6)


@pytest.mark.parametrize("storage", ["journal.log", "sqlite:///{}/study.db"])
def test_workers_that_start_at_once_share_one_study(storage: str, tmp_path: Path) -> None:
    address = storage.format(tmp_path) if "://" in storage else str(tmp_path / storage)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    planned = plan(address, sampler="random")
    processes = [context.Process(target=_begin, args=(planned, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    study = search.open_study(planned, create=False)
    assert search.progress(study).finished == 6
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len({trial.params["x"] for trial in complete}) == 6


# --- storage --------------------------------------------------------------------------------------


def test_a_truncated_journal_goes_on(tmp_path: Path) -> None:
    """Cut anywhere: the half line goes, and the study still ends at exactly its total."""
    planned = plan(tmp_path / "j", sampler="random")
    run(planned, 3)
    whole = (tmp_path / "j").read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in (len(lines[0]) + 5, len(whole) // 2, len(whole) - 1, len(whole) - len(lines[-1])):
        cut_plan = plan(tmp_path / f"cut-{cut}", sampler="random")
        Path(cut_plan.storage).write_bytes(whole[:cut])
        study = run(cut_plan, 4)
        assert search.progress(study) == search.Progress(4, 0)
        for line in Path(cut_plan.storage).read_text().splitlines():
            json.loads(line)


def test_a_half_line_is_cut_before_the_next_is_written(tmp_path: Path) -> None:
    """Another worker dies in the middle of a write, while this one works."""

    def torn(trial: search.Trial) -> float:
        with (tmp_path / "j").open("ab") as journal:
            journal.write(b'{"op_code":8,"wor')
        return bowl(trial)

    assert states(run(plan(tmp_path / "j"), 3, torn)) == ["COMPLETE"] * 3


@pytest.mark.parametrize("damage", [b"\x00\x00 no json \n", b"[]\n", b"{}\n"])
@pytest.mark.parametrize("line", [1, -1])
def test_a_damaged_journal_is_refused_with_its_line(
    damage: bytes, line: int, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    run(plan(journal), 2)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[line] = damage
    journal.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=rf"j:{line % len(lines) + 1}: .*damaged.*good copy"):
        search.open_study(plan(journal))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////no/such/folder/study.db", "cannot be reached.*unable to open"),
        ("postgresql+nothing://u:secret@localhost/x", "nothing"),
        ("oracle+oracledb://u:secret@localhost/x", "driver is missing|cannot be reached"),
        ("nonsense://u:secret@host", "URL|driver"),
    ],
)
def test_a_database_out_of_reach_is_one_line(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        search.open_study(plan(url))
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_joining_needs_the_study(tmp_path: Path) -> None:
    run(plan(tmp_path / "j", "other"), 1)
    with pytest.raises(UserError, match=r"no study mine \(there: other\); start"):
        search.open_study(plan(tmp_path / "j", "mine"), create=False)


def test_a_changed_space_is_refused_with_two_ways_out(tmp_path: Path) -> None:
    run(plan(tmp_path / "j"), 1)
    wider = SPACE | {"x": Dimension(kind="uniform", values=(-3.0, 3.0))}
    with pytest.raises(UserError) as raised:
        search.open_study(plan(tmp_path / "j", space=wider))
    for part in (
        "x was uniform [-2.0, 2.0], is uniform [-3.0, 3.0]",
        "put",
        "back",
        "search.study=",
    ):
        assert part in str(raised.value)
    more = SPACE | {"y": Dimension(kind="int", values=(0, 1))}
    with pytest.raises(UserError, match=r"study study .*y was not searched, is int \[0, 1\]"):
        search.open_study(plan(tmp_path / "j", name="other-hash", space=more))
    assert search.open_study(plan(tmp_path / "j", name="new-label", family="new", space=more))
    assert states(search.open_study(plan(tmp_path / "j"))) == ["COMPLETE"]
    names = optuna.get_all_study_names(search.open_study(plan(tmp_path / "j"))._storage)
    assert sorted(names) == ["new-label", "study"]


def test_a_study_goes_on_from_its_copy(tmp_path: Path) -> None:
    planned = plan(tmp_path / "here")
    run(planned, 3)
    search.keep_copy(planned, tmp_path / "copy" / "study.log")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["study.log"]
    elsewhere = plan(tmp_path / "there")
    search.open_study(elsewhere, kept=tmp_path / "copy" / "study.log")
    there, here = run(elsewhere, 5), run(planned, 5)
    assert [trial.params for trial in there.trials] == [trial.params for trial in here.trials]
    assert search.best(there).values == search.best(here).values
    # Where the study is known, the copy is not looked at.
    search.open_study(elsewhere, kept=tmp_path / "copy" / "study.log")
    assert search.progress(there).finished == 5


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
        "pruner": "'halving', 'hyperband', 'median' or 'none'",
    }
    with pytest.raises(UserError, match=known.get(name, "'speech-mix'")) as raised:
        params_with({name: "astrology"})
    assert f"search.{name}" in str(raised.value)
    assert "astrology" in str(raised.value)


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
    with pytest.raises(UserError, match="no search in it"):
        with_best(params, best)
    content = {
        "arch": "scae", "study": "s", "trial": 3, "values": {"learning_rate": 0.005, "noise": 0.2},
        "run_id": "parent", "trial_run_id": "child",
    }  # fmt: skip
    best.write_text(yaml.safe_dump(content))
    found, tags = with_best(params, best)
    assert (found.pretrain.learning_rate, found.scae.noise) == (0.005, 0.2)
    assert found.pretrain.decay == params.pretrain.decay
    assert tags["search_study"] == "s"
    assert tags["search_trial_run_id"] == "child"
    with pytest.raises(UserError, match="the search of scae, pretrain.arch is cpc"):
        with_best(params_with({}, "cpc"), best)


# --- to look at -----------------------------------------------------------------------------------


def test_the_page_holds_every_figure_and_plotly_once(tmp_path: Path) -> None:
    study = run(plan(tmp_path / "j", pruner="median"), 8)
    drawn = search.figures(study, "loss <b>")
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
    one = {"x": SPACE["x"]}
    assert len(search.figures(run(plan(tmp_path / "a"), 1), "loss")) == 3
    assert (
        len(
            search.figures(
                run(plan(tmp_path / "b", space=one), 3, lambda trial: trial.values["x"]), "loss"
            )
        )
        == 5
    )
    same = run(plan(tmp_path / "c"), 3, lambda trial: 1.0)
    assert len(search.figures(same, "loss")) == 3
