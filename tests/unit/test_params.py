"""params.yaml and its switches: what is in force, where it comes from, and what is refused."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from recitative.cli import cli
from recitative.errors import UserError
from recitative.params import flatten, load_params, load_with_origins, resolve
from recitative.switches import AUTO, PROTOCOLS, SIZES, of_size

OWN_AUTO = {"experiment", "compute.device", "compute.precision"}  # decided on the spot
SWITCHES = [(size, protocol) for size in SIZES for protocol in PROTOCOLS]


@pytest.fixture(scope="module")
def written(project_root: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((project_root / "params.yaml").read_text())
    return values


@pytest.fixture
def load(written: dict[str, Any], tmp_path: Path) -> Any:
    """Load params.yaml with some values changed, by dotted name; None takes a name away."""

    def with_values(changes: dict[str, Any]) -> Any:
        values = copy.deepcopy(written)
        for name, value in changes.items():
            *sections, leaf = name.split(".")
            holder = values
            for section in sections:
                holder = holder[section]
            if value is ...:
                del holder[leaf]
            else:
                holder[leaf] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        return load_with_origins(path)

    return with_values


def test_the_projects_own_file_loads(project_root: Path) -> None:
    params = load_params(project_root / "params.yaml")
    assert params.arch is getattr(params, params.pretrain.arch)
    assert params.features.n_mels == 128
    assert params.transfer.repeats == SIZES[params.size]["transfer.repeats"]


def test_every_value_has_its_unit_or_meaning_in_a_comment(project_root: Path) -> None:
    lines = (project_root / "params.yaml").read_text().splitlines()
    numeric = [line for line in lines if line.split(":")[-1].split("#")[0].strip()[:1].isdigit()]
    bare = [line.strip() for line in numeric if "#" not in line]
    self_explaining = ("seed", "min_improvement", "learning_rate", "scratch_learning_rate")
    assert [line for line in bare if line.split(":")[0] not in self_explaining] == []


# The switches.


@pytest.mark.parametrize("table", [SIZES, PROTOCOLS], ids=["size", "protocol"])
def test_a_switch_governs_only_parameters_that_are_there(
    table: dict[str, dict[str, Any]], written: dict[str, Any]
) -> None:
    for switch, values in table.items():
        assert set(values) <= set(flatten(written)), switch


@pytest.mark.parametrize(("size", "protocol"), SWITCHES)
def test_every_auto_is_decided(size: str, protocol: str, written: dict[str, Any]) -> None:
    values = copy.deepcopy(written) | {"size": size, "protocol": protocol}
    autos = {name for name, value in flatten(values).items() if value == AUTO} - OWN_AUTO
    assert len(autos) > 20
    origins = resolve(values, "params.yaml")
    decided = flatten(values)
    for name in autos:
        by_protocol = name in PROTOCOLS[protocol]
        table = PROTOCOLS[protocol] if by_protocol else SIZES[size]
        assert decided[name] == of_size(table[name], size)
        assert origins[name] == (f"protocol: {protocol}" if by_protocol else f"size: {size}")
    assert [name for name, value in decided.items() if value == AUTO and name not in OWN_AUTO] == []


@pytest.mark.parametrize(("size", "protocol"), SWITCHES)
def test_every_pair_of_switches_is_a_valid_set(size: str, protocol: str, load: Any) -> None:
    params, _ = load({"size": size, "protocol": protocol})
    assert (params.size, params.protocol) == (size, protocol)
    flat = flatten(params.model_dump(mode="json"))
    for name, value in (SIZES[size] | PROTOCOLS[protocol]).items():
        assert flat[name] == of_size(value, size), name


def test_the_sizes_know_the_same_parameters() -> None:
    assert set(SIZES["demo"]) == set(SIZES["paper"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pretrain.epochs", 7),  # governed by size
        ("encoder.batch_norm", "time"),  # by protocol
        ("transfer.finetune.patience", 9),  # by both
        ("transfer.class_weights", False),
        ("pretrain.patience", 0),
    ],
)
@pytest.mark.parametrize(("size", "protocol"), SWITCHES)
def test_a_written_value_wins_over_both(
    name: str, value: Any, size: str, protocol: str, load: Any
) -> None:
    params, origins = load({"size": size, "protocol": protocol, name: value})
    assert flatten(params.model_dump())[name] == value
    assert origins[name] == "params.yaml"


@pytest.mark.parametrize("protocol", ["paper", "released"])
@pytest.mark.parametrize("size", list(SIZES))
def test_the_papers_heads_stay_the_papers(size: str, protocol: str, load: Any) -> None:
    """Of them C24 changes nothing: head, schedule, epochs, and one training a cell."""
    params, _ = load({"size": size, "protocol": protocol})
    transfer, sizes = params.transfer, SIZES[size]
    assert (transfer.head, transfer.classifier.standardize, transfer.refit) == (
        "flatten", False, False,
    )  # fmt: skip
    for phase in ("frozen", "finetune"):
        fitted = getattr(transfer, phase)
        assert (fitted.schedule, fitted.epochs) == ("constant", sizes[f"transfer.{phase}.epochs"])
        assert fitted.keep == ("best" if protocol == "paper" else "last")
    assert params.controls.scratch_epochs == sizes["controls.scratch_epochs"]


def test_the_protocol_wins_over_the_size(load: Any) -> None:
    params, origins = load({"size": "paper", "protocol": "released"})
    assert params.pretrain.patience == 0
    assert origins["pretrain.patience"] == "protocol: released"
    params, origins = load({"size": "paper", "protocol": "paper"})
    assert params.pretrain.patience == 10
    assert origins["pretrain.patience"] == "size: paper"


def test_loading_does_not_change_the_tables(load: Any) -> None:
    before = copy.deepcopy((SIZES, PROTOCOLS))
    load({"protocol": "paper"})
    assert before == (SIZES, PROTOCOLS)


@pytest.mark.parametrize(
    ("size", "speech", "music", "label"),
    [
        ("paper", 3, 3, "1"),
        ("paper", 30, 3, "2"),
        ("paper", 10, 2.5, "10h-speech-2.5h-music"),
        ("paper", 30, None, "30h-speech-all-music"),
        ("demo", AUTO, AUTO, "demo"),
        ("demo", 1, AUTO, "demo-1h-speech-0.04h-music"),
    ],
)
def test_an_experiment_is_named_after_its_amounts(
    size: str, speech: Any, music: Any, label: str, load: Any
) -> None:
    amounts = {"size": size, "balance.speech_hours": speech, "balance.music_hours": music}
    params, origins = load(amounts)
    assert params.experiment == label
    assert origins["experiment"] == "balance"
    params, origins = load(amounts | {"experiment": "my own"})
    assert params.experiment == "my own"


# What is refused: one line, with the file, the dotted name and the value.

REFUSED = [
    ({"transfer.repeat": 4}, r"transfer\.repeat: .*; did you mean repeats\? \(got 4\)"),
    ({"pretrian": {"epochs": 3}}, r"pretrian: no such parameter; did you mean pretrain\?"),
    # The right name is `auto`, as is what was typed.
    ({"transfer.reapeats": AUTO}, r"transfer\.reapeats: .*; did you mean repeats\? \(got 'auto'\)"),
    ({"pretrain.epohcs": AUTO, "pretrain.epochs": ...}, r"pretrain\.epohcs: .*mean epochs\?"),
    ({"transfer.frozen.epoch": AUTO}, r"transfer\.frozen\.epoch: .*did you mean epochs\?"),
    ({"pretrian": {"epochs": AUTO}}, r"pretrian: .*did you mean pretrain\?"),
    ({"xyzzy": AUTO}, r"xyzzy: no such parameter; remove it \(got 'auto'\)"),
    ({"datasets.music-man.treshold": AUTO}, r"datasets\.music-man\.treshold: .*mean threshold\?"),
    ({"seed": True}, r"seed: true and false are no values of it.* \(got True\)"),
    ({"pretrain.epochs": True}, r"pretrain\.epochs: true and false .*\(got True\)"),
    ({"pretrain.learning_rate": True}, r"pretrain\.learning_rate: true and false .*\(got True\)"),
    ({"balance.speech_hours": True}, r"balance\.speech_hours: true and false .*\(got True\)"),
    ({"features.power": True}, r"features\.power: true and false .*\(got True\)"),
    ({"encoder.filters": [4, True, 8]}, r"encoder\.filters: true and false .*True"),
    ({"pretrain.epochs": 10**30}, r"pretrain\.epochs: a whole number of at most 4294967295 "),
    ({"pretrain.epochs": "1" + 30 * "0"}, r"pretrain\.epochs: a whole number of at most"),
    ({"pretrain.epochs": 1e30}, r"pretrain\.epochs: .*\(got 1e\+30\)"),
    ({"pretrain.epochs": "1e30"}, r"pretrain\.epochs: .*integer.*\(got '1e30'\)"),
    ({"seed": -(10**30)}, r"seed: a whole number of at most"),
    ({"encoder.filters": [4, 10**30, 8]}, r"encoder\.filters: a whole number of at most"),
    ({"experiment": "x" * 5000, "seed": []}, r"seed: "),
    ({"seed": "x" * 5000}, r"seed: .*… 5002 characters\)"),
    ({"transfer.modes": ["full", "full"]}, r"transfer\.modes: 'full' stands twice; remove one"),
    ({"controls.names": ["scratch", "majority", "scratch"]}, r"controls\.names: 'scratch' stands"),
    ({"features.segment_hop": 40}, r"features: segment_hop 40 is above segment_frames 31"),
    ({"features.hop_length": 2048}, r"features: hop_length 2048 is above win_length 1024"),
    ({"compute.memory_gb": 4}, r"compute\.memory_gb: .*is gone: nothing depended on it; remove it"),
    ({"transfer.keep": "all"}, r"transfer\.keep: .*is gone: the weights of every repeat are kept; rem"),
    ({"transfer.released": {"epochs": "auto"}}, r"transfer\.released: .*called transfer\.finetune"),
    ({"transfer.repeats": 0}, r"transfer\.repeats: .*greater than 0 \(got 0\)"),
    ({"pretrain.epochs": "many"}, r"pretrain\.epochs: .*integer.*\(got 'many'\)"),
    ({"seed": "x"}, r"seed: .*integer.*\(got 'x'\)"),
    ({"cpc.gap": 0.5}, r"cpc\.gap: .*\(got 0\.5\)"),
    ({"encoder.dropout": 1}, r"encoder\.dropout: .*less than 1 \(got 1\)"),
    ({"encoder.dropout": float("nan")}, r"encoder\.dropout: .*\(got nan\)"),
    ({"encoder.pools": [4, 0, 2]}, r"encoder\.pools\.1: .*\(got 0\)"),
    ({"encoder.filters": [4, 4]}, r"encoder: filters \(4, 4\) and pools \(4, 4, 2\)"),
    ({"split": 3}, r"split: .*\(got 3\)"),
    ({"balance": ...}, r"balance: Field required"),
    ({"balance.speech_hours": "a few"}, r"balance\.speech_hours: .*\(got 'a few'\)"),
    ({"balance.speech_hours": ...}, r"balance\.speech_hours: Field required"),
    ({"protocol": "papr"}, r"protocol: 'papr' is not known; choose .*corrected, paper, released"),
    ({"protocol": ...}, r"protocol: None is not known"),
    ({"size": ["demo"]}, r"size: \['demo'\] is not known; choose one of demo, paper"),
    ({"scae.noise": "auto"}, r"scae\.noise: nothing decides 'auto' here; write a value"),
    ({"pretrain.arch": "vae"}, r"pretrain\.arch: unknown architecture 'vae'; known: scae, cpc"),
    ({"report.mlflow_url": "javascript:alert(1)"}, r"report\.mlflow_url: .*begins with http://"),
    ({"report.mlflow_url": "file:///etc/passwd"}, r"report\.mlflow_url: .* or https://.*got 'file"),
    ({"report.mlflow_url": "127.0.0.1:5000"}, r"report\.mlflow_url: .*begins with http://"),
    ({"report.mlflow_url": "http://[::1"}, r"report\.mlflow_url: "),
    ({"report.mlflow_url": "https://"}, r"report\.mlflow_url: .*begins with http://"),
    ({"search.space.sace": {}}, r"search\.space\.sace: unknown architecture; known: scae, cpc"),
    ({"pretrain.arch": "split"}, r"pretrain\.arch: unknown architecture 'split'"),
    ({"transfer.modes": ["feature"]}, r"transfer\.modes: each mode is one of feature_extraction"),
    (
        {"datasets.speech-eng.adapter": "timit"},
        r"datasets\.speech-eng\.adapter: unknown adapter 'timit'; known: aishell",
    ),
    ({"datasets.speech-eng.folder": 3}, r"datasets\.speech-eng\.folder: .*string.*\(got 3\)"),
    ({"datasets.music-man.treshold": 1}, r"datasets\.music-man\.treshold: no such parameter"),
    ({"datasets.speech-eng": 7}, r"datasets\.speech-eng: .*\(got 7\)"),
    ({"datasets.speech-fre": {}}, r"datasets\.speech-fre: unknown role; known: speech-eng"),
    ({"datasets": [1]}, r"datasets: .*\(got \[1\]\)"),
]  # fmt: skip


@pytest.mark.parametrize("size", ["demo", "paper"])
@pytest.mark.parametrize(("changes", "line"), REFUSED, ids=lambda x: str(x)[:40])
def test_a_wrong_value_is_one_line(
    changes: dict[str, Any], line: str, size: str, load: Any
) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml: {line}") as caught:
        load({"size": size} | changes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "no such file; run in the project's own folder"),
        ("a: [1, 2\nb: 3", "not valid YAML"),
        ("", "no parameters in it"),
        ("- a list", "no parameters in it"),
        ("seed: 1\nname: M\xfcller".encode("latin-1"), r"not UTF-8 \(byte 15\); save it as UTF-8"),
        ("a: &a [*a]", r"line 1: a\.0: .* names what it is a part of; write the value out"),
        ("a: &a\n  b:\n    c: *a", r"line \d: a\.b\.c: .* names what it is a part of"),
        ("seed: 1\npretrain:\n  epochs: 3\n  keep: best\n  epochs: 4",
         r"line 5: pretrain\.epochs stands twice \(first in line 3\); remove one"),
        ("seed: {a: 1, a: 2}", r"line 1: seed\.a stands twice"),
        ("seed: 1\nseed: 1", r"line 2: seed stands twice \(first in line 1\)"),
        ("[" * 3000 + "]" * 3000, "not valid YAML"),
        ("seed: " + "9" * 5000, "not valid YAML: "),
        ("? [1]\n: 2", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_parameters_is_one_line(
    text: str | bytes | None, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=line) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_pipe_is_no_parameters(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(UserError, match="no such file"):
        load_params(tmp_path / "params.yaml")


def test_an_alias_that_is_no_cycle_is_a_value(written: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        yaml.safe_dump(written, sort_keys=False).replace("seed: 2021", "seed: &root 2021")
    )
    path.write_text(path.read_text().replace("scratch_epochs: auto", "scratch_epochs: *root"))
    assert load_params(path).controls.scratch_epochs == 2021


def test_the_command_prints_each_value_and_where_it_comes_from(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project_root)
    result = CliRunner().invoke(cli, ["params"])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    params, origins = load_with_origins(Path("params.yaml"))
    for name in flatten(params.model_dump(exclude={"datasets"})):
        assert any(printed.startswith(name) for printed in lines), name
        if name in origins:
            assert origins[name] in lines[name], name
