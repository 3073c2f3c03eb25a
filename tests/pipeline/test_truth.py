"""`recitative truth`: its projects, what a killed one goes on from, and what it calls right."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from projects import PROCESSES, ROOT, TINY, Project, make_project

from recitative.commands import truth
from recitative.commands.truth import EXPECTED, STAGES, Trial, format_rows, settings, work
from recitative.errors import UserError
from recitative.experiment.places import prediction_folders
from recitative.params import load_params, params_of, read_values
from recitative.seeding import derive_rng
from recitative.vocabulary import QUADRANTS

TRIAL = Trial("language", 3, "emotion", small=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.parametrize("arch", ["emotion", "scae", "cpc"])
@pytest.mark.parametrize("small", [False, True])
def test_a_trials_parameters_are_its_own_whatever_the_project_does(
    project: Project, arch: str, small: bool
) -> None:
    project.set(**{"datasets.music-eng": {"adapter": "table", "folder": "mine"}})
    project.set(size="paper", protocol="released", seed=9)
    values = read_values(project.root / "params.yaml")
    trial = replace(TRIAL, arch=arch, small=small)
    params = params_of(settings(values, trial), "params.yaml")
    assert (params.seed, params.demo.seed, params.demo.effect) == (3, 3, "language")
    assert (params.size, params.protocol, params.pretrain.arch) == ("demo", "corrected", arch)
    assert params.datasets["music-eng"].adapter == "emotion_4q"
    assert params.split.scheme == "grouped_folds"
    assert params.transfer.modes == ("feature_extraction",)
    assert read_values(project.root / "params.yaml") == values


def test_the_seed_and_the_effect_alone_tell_two_trials_apart(project: Project) -> None:
    values = read_values(project.root / "params.yaml")
    one, other = (settings(values, replace(TRIAL, effect=e)) for e in ("none", "language"))
    assert one["demo"].pop("effect") != other["demo"].pop("effect")
    assert one == other


def test_dvc_does_not_take_the_trials_for_parts_of_the_project(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.shell("dvc", "init", "--quiet", "--no-scm")  # with git it leaves out what git ignores
    shutil.copyfile(ROOT / ".dvcignore", project.root / ".dvcignore")
    with project.here():
        truth._lay_out(TRIAL, read_values(Path("params.yaml")))
    listed = project.shell("dvc", "stage", "list", "--all", "--name-only").stdout
    assert "corpus" in listed
    assert "truth" not in listed


class _Stages:
    """Stages that only note that they were called; one may break."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[str] = []
        self.breaks = ""
        monkeypatch.setattr(truth, "import_module", self._module)
        monkeypatch.setattr(truth, "judge_here", self._module("claims").run)

    def _module(self, name: str) -> Any:
        def run(params: Any, *arguments: str) -> None:
            command = " ".join((name.rpartition(".")[2], *arguments))
            if command == self.breaks:
                raise UserError("killed")
            self.called.append(command)

        return SimpleNamespace(run=run)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> _Stages:
    return _Stages(monkeypatch)


def test_a_trial_goes_on_where_it_was_stopped(here: Project, stages: _Stages) -> None:
    stages.breaks = "pretrain mix"
    with pytest.raises(UserError, match="killed"):
        work(STAGES, os.getpid())
    before, stages.called, stages.breaks = stages.called, [], ""
    work(STAGES, os.getpid())
    assert [*before, *stages.called] == list(STAGES)
    stages.called = []
    work(STAGES, os.getpid())
    assert stages.called == []


def test_changed_parameters_are_worked_at_again(here: Project, stages: _Stages) -> None:
    work(STAGES, os.getpid())
    stages.called = []
    here.set(**{"transfer.frozen.epochs": 3})
    work(STAGES, os.getpid())
    assert stages.called[0] == "transfer eng2eng"
    assert not {"corpus", "index", "pretrain eng"} & set(stages.called)


def test_a_trial_ends_with_the_command_that_waits_for_it(here: Project, stages: _Stages) -> None:
    gone = PROCESSES.Process(target=int)
    gone.start()
    gone.join()
    with pytest.raises(SystemExit, match="killed"):
        work(STAGES, gone.pid or 0)
    assert stages.called == []


@pytest.fixture
def judged(here: Project, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run with trials whose claims are given as effect -> claim -> verdict."""

    def run(verdicts: dict[str, dict[str, str]], archs: tuple[str, ...] = ("emotion",)) -> bool:
        def decide(trial: Trial) -> float:
            told = [
                {"claim": claim, "verdict": word, "effect": 5.04, "low": -1.0, "high": 9.0}
                for claim, word in verdicts[trial.effect].items()
            ]
            (trial.folder / "verdicts.json").write_text(json.dumps(told))
            return 1.25

        monkeypatch.setattr(truth, "_run", decide)
        return truth.run(Path("params.yaml"), (4, 5), archs, small=True)

    return run


RIGHT = {
    effect: {c: "supported" if e == "found" else "undecided" for c, e in claims.items()}
    for effect, claims in EXPECTED.items()
}


def test_it_is_right_where_every_verdict_is(judged: Any, capsys: Any) -> None:
    assert judged(RIGHT)
    rows = json.loads(Path("build/truth/truth.json").read_text())
    assert len(rows) == 12
    assert list(rows[0]) == [
        "effect", "seed", "arch", "claim", "expected", "verdict", "value", "low", "high", "right",
    ]  # fmt: skip
    assert {row["seed"] for row in rows} == {4, 5}
    assert rows[0]["value"] == 5.0
    assert all(row["right"] for row in rows)
    about = json.loads(Path("build/truth/about.json").read_text())
    assert about["seconds"]["emotion-none-4-small"] == 1.2
    assert "git_sha" in about
    out = capsys.readouterr().out
    assert "`pretraining`, claim 10a (found): found in 2 of 2" in out
    assert "`none`, claim 10a (absent): found in 0 of 2" in out


@pytest.mark.parametrize(
    ("effect", "claim", "verdict", "line"),
    [
        ("pretraining", "10a", "undecided", "claim 10a (found): found in 0 of 2"),
        ("pretraining", "10a", "refuted", "claim 10a (found): found in 0 of 2"),
        ("language", "1", "undecided", "claim 1 (found): found in 0 of 2"),
        ("none", "1", "supported", "claim 1 (absent): found in 2 of 2"),
        ("none", "10a", "refuted", "claim 10a (absent): found in 2 of 2"),
    ],
)
def test_a_missed_or_invented_effect_is_wrong(
    judged: Any, capsys: Any, effect: str, claim: str, verdict: str, line: str
) -> None:
    wrong = {**RIGHT, effect: {**RIGHT[effect], claim: verdict}}
    assert not judged(wrong)
    out = capsys.readouterr().out
    assert f"`{effect}`, {line}" in out
    assert out.count("wrong |") == 2


def test_the_command_fails_where_a_verdict_is_wrong(here: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(truth, "run", lambda *_, **__: False)
    assert here.invoke("truth", "--small").exit_code == 1
    monkeypatch.setattr(truth, "run", lambda *_, **__: True)
    assert here.invoke("truth", "--small").exit_code == 0


def test_an_unknown_architecture_is_one_line(project: Project) -> None:
    result = project.invoke("truth", "--arch", "emotoin")
    assert isinstance(result.exception, UserError)
    assert "emotoin" in str(result.exception)
    assert "known: " in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_trial_that_stops_says_why(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    truth._lay_out(TRIAL, read_values(Path("params.yaml")))
    (TRIAL.folder / "params.yaml").write_text("size: demo\n")
    with pytest.raises(UserError, match=r"log\.txt: the trial stopped, and said last: error: "):
        truth._run(TRIAL)


def test_an_effect_that_is_misspelt_is_one_line_with_the_choices(project: Project) -> None:
    project.set(**{"demo.effect": "langauge"})
    result = project.invoke("corpus")
    assert isinstance(result.exception, UserError)
    said = str(result.exception)
    assert said.startswith("params.yaml: demo.effect: ")
    for name in ("none", "pretraining", "language", "composed"):
        assert f"'{name}'" in said
    assert "(got 'langauge')" in said
    assert "\n" not in said


def test_the_table_is_markdown() -> None:
    row = truth.Row("none", 1, "scae", "1", "absent", "undecided", -0.5, -4.0, 3.0, right=True)
    table = [line for line in format_rows([row]).splitlines() if line.startswith("|")]
    assert table[2] == "| none | 1 | scae | 1 | absent | undecided | -0.5 | [-4.0, +3.0] |  |"
    assert len({line.count("|") for line in table}) == 1


def _predictions(path: Path, arch: str, mode: str, right: float, seed: int) -> None:
    """Two repeats on 40 songs, a share of which is right."""
    rng = derive_rng(seed)
    rows = []
    for repeat, song in product(range(2), range(40)):
        truth_ = song % 4
        guess = truth_ if rng.random() < right else int(rng.integers(4))
        shares = {f"q{n + 1}": 0.7 if n == guess else 0.1 for n in range(4)}
        rows.append(
            {"arch": arch, "transfer_mode": mode, "repeat": repeat, "clip": f"c{song}"}
            | {"group": f"g{song}", "segment": 0, **shares, "arousal": 0.5, "valence": 0.5}
            | {"quadrant": QUADRANTS[truth_], "fold": 0}
        )
    path.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path / "predictions.csv", index=False)


@pytest.mark.parametrize("arch", ["emotion", "cpc"])
def test_the_verdicts_are_those_of_the_claims(here: Project, arch: str) -> None:
    for number, (pairing, folder) in enumerate(prediction_folders().items()):
        speech, music = pairing.split("2")
        mode = "random_encoder" if speech == "none" else "feature_extraction"
        _predictions(folder, arch, mode, 0.9 if speech == music else 0.0, number)
    here.set(**{"evaluate.draws": 2000})
    truth.judge_here(load_params(Path("params.yaml")))
    found = {one["claim"]: one for one in json.loads(Path("verdicts.json").read_text())}
    assert {claim: found[claim]["verdict"] for claim in ("1", "10a", "10b")} == {
        "1": "supported", "10a": "supported", "10b": "not testable here",
    }  # fmt: skip
    assert found["1"]["effect"] > 40


# ------------------------------------------------------------------------------------------------

QUICK = {
    **TINY,
    "demo.speech_minutes": 0.5,
    "demo.emotion_clips": 4,
    "demo.artists": 15,
    "demo.music_clips": 30,
    "demo.clip_seconds": 1.5,
    "transfer.repeats": 1,
}


def _work_until(root: Path, write: int) -> None:
    """Work in a folder; die (-9) at the nth write of what is done."""
    os.chdir(root)
    os.environ["DVC_ROOT"] = str(root)
    sys.argv = ["truth", str(os.getpid())]
    original, count = truth.write_json, iter(range(1, 99))

    def deadly(path: Path, content: Any) -> None:
        if next(count) == write:
            os.kill(os.getpid(), signal.SIGKILL)
        original(path, content)

    truth.write_json = deadly
    truth.main()


@pytest.mark.slow
def test_a_killed_trial_ends_as_one_that_was_not(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "SETTINGS", truth.SETTINGS | QUICK)
    judged = []
    for seed_folder, kills in (("whole", ()), ("killed", (3, 2, 4))):
        monkeypatch.setattr(truth, "TRUTH", here.root / seed_folder)
        truth._lay_out(TRIAL, read_values(Path("params.yaml")))
        for write in (*kills, 99):
            process = PROCESSES.Process(target=_work_until, args=(TRIAL.folder, write))
            process.start()
            process.join()
            assert process.exitcode == (0 if write == 99 else -signal.SIGKILL)
        judged.append((TRIAL.folder / "verdicts.json").read_bytes())
    assert judged[0] == judged[1]
