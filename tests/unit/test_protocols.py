"""What a protocol means: its table in docs/protocols.md, its diff, and the ladder of faults."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from recitative import switches
from recitative.cli import cli
from recitative.commands import faults
from recitative.errors import UserError
from recitative.files import read_json
from recitative.params import flatten, load_params
from recitative.switches import AUTO, BY_SIZE, PROTOCOLS, ROWS, SIZES, of_size

NAMES = ("released", "paper", "corrected")


def shown(protocol: str, parameter: str) -> str:
    value = PROTOCOLS[protocol].get(parameter, BY_SIZE)
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_documents_table_is_the_code(project_root: Path) -> None:
    text = (project_root / "docs" / "protocols.md").read_text()
    rows = re.findall(r"^\| (\S+) \| `(\S+)` \| (.+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    documented = {parameter: (row, *values) for row, parameter, *values in rows}
    assert documented == {
        parameter: (row, *(shown(name, parameter) for name in NAMES))
        for parameter, row in ROWS.items()
    }


def test_every_parameter_of_a_protocol_has_its_row_and_exists(project_root: Path) -> None:
    assert set(ROWS) == {name for protocol in PROTOCOLS.values() for name in protocol}
    values = flatten(yaml.safe_load((project_root / "params.yaml").read_text()))
    assert set(ROWS) <= set(values)
    documented = (project_root / "docs" / "protocols.md").read_text()
    assert all(f"| C{number} |" in documented for number in range(1, 25))


def test_diff_has_what_differs_and_nothing_else() -> None:
    found = {d.parameter: d for d in switches.protocol_diff("released", "corrected")}
    assert found["split.leak"].row == "C11"
    assert (found["split.leak"].first, found["split.leak"].second) == ("released", "none")
    assert found["pretrain.patience"].second == BY_SIZE
    assert "transfer.classifier.block" not in found  # 512 in both
    assert all(d.first != d.second for d in found.values())
    assert {d.parameter for d in switches.protocol_diff("corrected", "released")} == set(found)
    assert switches.protocol_diff("paper", "paper") == []


def test_diff_as_a_command() -> None:
    result = CliRunner().invoke(cli, ["protocol", "diff", "released", "corrected"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split() == ["parameter", "released", "corrected", "row"]
    assert any(line.split() == ["split.group_by", "clip", "group", "C21"] for line in lines)
    with pytest.raises(UserError, match="corrected, paper, released"):
        switches.protocol_diff("released", "correct")


@pytest.fixture
def settings(project_root: Path):
    values = yaml.safe_load((project_root / "params.yaml").read_text())

    def rungs(arch: str):
        return list(faults._settings(values, "demo", arch))

    return rungs


@pytest.mark.parametrize("arch", ["scae", "cpc"])
def test_the_ladder_mends_one_fault_a_rung_from_released_to_corrected(settings, arch, tmp_path):
    rungs = settings(arch)
    assert rungs[0][0] == "released"
    assert [row for row, _, _ in rungs[1:]] == [
        "C11", "C21", "C13", "C18", "C12", "C3", *(["C4"] if arch == "cpc" else []), "ours",
        "C24", "C9, C21",
    ]  # fmt: skip
    resolved = []
    for _, _, values in rungs[:-1]:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(values))
        resolved.append(flatten(load_params(path).model_dump()))
    for before, after, mend in zip(resolved[:-1], resolved[1:], rungs[1:], strict=False):
        changed = {name for name in before if before[name] != after[name]}
        assert changed, mend[0]
        rows = {ROWS[name] for name in changed}
        assert rows == {mend[0]}
    assert rungs[-1][2] is None  # the last rung is another way to score, not to train
    left = (
        set(ROWS)
        - {"report.average", "search.over"}  # scoring; and no rung searches
        - {"split.scheme"}  # every rung holds songs out, as the release
        - ({"cpc.gap", "cpc.negatives"} if arch == "scae" else set())
    )
    wanted = {n: SIZES["demo"][n] for n in ROWS if n in SIZES["demo"]} | PROTOCOLS["corrected"]
    wanted = {name: of_size(value, "demo") for name, value in wanted.items()}
    for name in left:
        value = resolved[-1][name]
        assert (list(value) if isinstance(value, tuple) else value) == wanted[name], name


def test_a_value_written_out_does_not_hide_a_fault(project_root: Path) -> None:
    values = yaml.safe_load((project_root / "params.yaml").read_text())
    values["transfer"]["class_weights"] = True
    first = next(faults._settings(values, "demo", "scae"))[2]
    assert first is not None
    assert first["transfer"]["class_weights"] == AUTO
    assert first["protocol"] == "released"
    assert first["compute"]["ahead"] is False  # one pairing is asked for, not all
    assert values["transfer"]["class_weights"] is True  # the user's own values stay


def test_the_price_of_a_fault_is_what_the_printed_score_loses(monkeypatch, tmp_path, project_root):
    """Trainings replaced by tables: leak-free, the score falls by what the leak was worth."""

    def table(right: int) -> dict[str, pd.DataFrame]:
        rows = []
        for song in range(8):
            for segment in range(2):
                answer = song % 4 if song < right else (song + 1) % 4
                row = {"arch": "scae", "transfer_mode": "full", "repeat": 0, "clip": f"s{song}"}
                row |= {"group": "g", "segment": segment, "arousal": 0.0, "valence": 0.0}
                row |= {f"q{q + 1}": float(q == answer) for q in range(4)}
                rows.append(row | {"quadrant": f"Q{song % 4 + 1}"})
        return {"full": pd.DataFrame(rows)}

    trained = []

    def train(params, pairing, kept):
        trained.append(params)
        return table(8 if params.split.leak == "released" else 4)

    monkeypatch.setattr(faults, "_train", train)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((project_root / "params.yaml").read_text())
    (tmp_path / "build").mkdir()
    result = CliRunner().invoke(cli, ["faults", "--json", "out.json"])
    assert result.exit_code == 0, result.output
    rungs = pd.read_json(tmp_path / "out.json")
    assert len(rungs) == len(trained) + 1 == 10
    assert rungs["row"].tolist()[:2] == ["released", "C11"]
    leak = rungs.iloc[1]
    assert rungs.iloc[0]["printed"] == 1.0
    assert leak["fault_adds"] == pytest.approx(100 * (1 - leak["printed"]))
    assert (rungs["fault_adds"][2:] == 0).all()
    assert rungs.iloc[-1]["printed"] == rungs.iloc[-1]["honest"]
    touched = [path for path in (tmp_path / "build").rglob("*") if path.is_file()]
    assert touched == [tmp_path / "build" / "faults" / "scae-eng2eng.json"]
    assert read_json(touched[0])["rungs"] == json.loads((tmp_path / "out.json").read_text())


def test_an_unknown_pairing_is_refused() -> None:
    with pytest.raises(UserError, match="choose of eng2eng"):
        faults.run(Path("params.yaml"), "fre2eng", None, None)
