"""From an audio file to emotion over time, with a tiny classifier that has learnt nothing."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from recitative.commands import predict as listen
from recitative.errors import UserError
from recitative.features.mel import FeatureConfig, log_mel
from recitative.files import read_json, sha256, write_json
from recitative.learning.compute import Compute
from recitative.models.config import ClassifierConfig, EncoderConfig, SCAEConfig
from recitative.models.storage import (
    DESCRIPTION,
    DESCRIPTION_BYTES,
    WEIGHTS,
    build_classifier,
    build_encoder,
    describe,
    save_weights,
    weights_path,
)
from recitative.predict import Predictor
from recitative.tracking import registry

CPU = Compute(torch.device("cpu"), bf16=False)
FEATURES = FeatureConfig()


def song(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """A tone that rises by two octaves and swells, a little later in each channel; (n, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    glide = 2 * np.pi * 220 * (time + 3 * time**2 / (2 * seconds))
    wave = np.sin(glide[:, None] + 0.1 * np.arange(channels))
    return (0.5 * wave * (0.02 + time / seconds)[:, None]).astype(np.float32)


DESCRIBED = describe(
    "scae",
    EncoderConfig(filters=(4, 4, 8), batch_norm="channel", standardize="none"),
    SCAEConfig(),
    FEATURES.n_mels,
    FEATURES.segment_frames,
) | {
    "head": "flatten",
    "classifier": ClassifierConfig(trunk=(32,), block=(16,)).model_dump(mode="json"),
    "features": FEATURES.model_dump(mode="json"),
}


def network(seed: int) -> torch.nn.Module:
    """A small random model whose answers differ from segment to segment."""
    torch.manual_seed(seed)
    model = build_classifier(DESCRIBED, build_encoder(DESCRIBED))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model, as Recitative 0.1 wrote it."""
    folder = tmp_path_factory.mktemp("bundle")
    save_weights(folder / WEIGHTS, network(0))
    write_json(folder / DESCRIPTION, DESCRIBED)
    return folder


def write_ensemble(path: Path, *seeds: int, **changes: object) -> Path:
    """A description and its members' weights, one repeat a seed."""
    members = []
    for repeat, seed in enumerate(seeds):
        weights = weights_path(path, repeat, 0)
        save_weights(weights, network(seed))
        members.append({"repeat": repeat, "fold": 0, "sha256": sha256(weights), "validation": {}})
    write_json(path, DESCRIBED | {"members": members} | changes)
    return path


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transfer writes: full.json and the weights of two repeats."""
    return write_ensemble(tmp_path_factory.mktemp("cell") / "full.json", 0, 1)


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor.load(bundle, CPU)


ODD = {
    "8 kHz, 3 channels": ("a.wav", 8000, 3, {}),
    "192 kHz": ("a.wav", 192_000, 1, {}),
    "8 channels": ("a.flac", 16_000, 8, {}),
    "mp3": ("a.mp3", 44_100, 2, {}),
    "ogg": ("a.ogg", 22_050, 1, {}),
    "24 bit": ("a.wav", 48_000, 2, {"subtype": "PCM_24"}),
    "spaces and other scripts": ("my söng  歌 №1.wav", 16_000, 1, {}),
    "the wrong ending": ("a.mp3", 16_000, 1, {"format": "WAV"}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_good_files_are_heard(name: str, predictor: Predictor, tmp_path: Path) -> None:
    filename, rate, channels, options = ODD[name]
    path = tmp_path / filename
    soundfile.write(path, song(2.5, rate, channels), rate, **options)
    heard = predictor.predict(path)
    assert heard.file == str(path)
    assert heard.seconds == pytest.approx(2.5, abs=0.1)
    assert heard.timeline[0].start == 0
    assert heard.timeline[-1].end <= heard.seconds
    assert sum(heard.whole.probabilities.values()) == pytest.approx(1, abs=1e-3)


def test_one_second_is_enough_and_a_little_less_is_not(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "second.wav"
    soundfile.write(path, song(1, 16_000), 16_000)
    assert [(e.start, e.end) for e in predictor.predict(path).timeline] == [(0, 0.992)]
    soundfile.write(path, song(0.9, 16_000), 16_000)
    with pytest.raises(UserError, match=r"second\.wav: 0\.90 s is too short; at least 0\.96 s"):
        predictor.predict(path)


def test_the_timeline_is_the_models_answer_segment_by_segment(
    predictor: Predictor, tmp_path: Path
) -> None:
    """Against the plainest way to ask the same: one segment at a time, softmax by numpy."""
    path = tmp_path / "song.wav"
    samples = song(6, 16_000)[:, 0]
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    frames = log_mel(samples, FEATURES)
    starts = range(0, len(frames) - 30, 15)
    asked = []
    for start in starts:
        x = torch.from_numpy(frames[start : start + 31].T.copy())[None, None]
        with torch.no_grad():
            logits = {task: row[0].double().numpy() for task, row in predictor.models[0](x).items()}
        soft = {task: np.exp(row) / np.exp(row).sum() for task, row in logits.items()}
        asked.append([*soft["quadrant"], soft["arousal"][1], soft["valence"][1]])
    heard = predictor.predict(path)
    told = [[*e.probabilities.values(), e.arousal, e.valence] for e in heard.timeline]
    assert np.allclose(told, asked, atol=1e-4)
    assert np.std(asked, axis=0).max() > 0.01  # the segments do differ: the order is tested too
    assert [e.start for e in heard.timeline] == [round(s * 0.032, 3) for s in starts]
    whole = np.mean(asked, axis=0)
    assert [heard.whole.arousal, heard.whole.valence] == pytest.approx(whole[4:], abs=1e-4)
    assert heard.whole.quadrant == f"Q{whole[:4].argmax() + 1}"


def _truncated(path: Path) -> None:
    soundfile.write(path, song(4, 16_000), 16_000)
    path.write_bytes(path.read_bytes()[:9000])


def _nan(path: Path) -> None:
    samples = song(2, 16_000)
    samples[100] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.touch(), "an empty file"),
    "text": (lambda path: path.write_text("la la la"), "not an audio file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a file"),
    "pipe": (os.mkfifo, "a pipe, socket or device, not a file"),  # would never end
    "truncated": (_truncated, "truncated"),
    "silent": (lambda path: soundfile.write(path, np.zeros(32_000), 16_000), "silent"),
    "nan": (_nan, "NaN"),
    "short": (lambda path: soundfile.write(path, song(0.5, 16_000), 16_000), "too short"),
}


def test_a_broken_file_is_one_line_and_the_others_are_answered(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [tmp_path / "first.wav", tmp_path / "last.flac"]
    for path in good:
        soundfile.write(path, song(2, 16_000), 16_000)
    broken = []
    for name, (make, _) in BROKEN.items():
        broken.append(tmp_path / f"{name}.wav")
        make(broken[-1])
    answer, picture = tmp_path / "out" / "answer.json", tmp_path / "out" / "path.png"
    files = [good[0], *broken, good[1]]
    assert not listen.run(files, str(bundle), answer, picture)
    told = capsys.readouterr()
    model, *lines = told.err.splitlines()
    assert model == f"model: {bundle}"
    assert len(lines) == len(broken)
    for line, path, (_, reason) in zip(lines, broken, BROKEN.values(), strict=True):
        assert line.startswith(f"error: {path}: ")
        assert reason in line
    assert [line.split(":")[0] for line in told.out.splitlines() if not line.startswith(" ")] == [
        str(path) for path in good
    ]
    assert [one["file"] for one in read_json(answer)] == [str(path) for path in good]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_answer_as_json_has_all_that_is_told(bundle: Path, tmp_path: Path) -> None:
    path, answer = tmp_path / "歌.wav", tmp_path / "answer.json"
    soundfile.write(path, song(2, 16_000), 16_000)
    assert listen.run([path], str(bundle), answer, None)
    [one] = json.loads(answer.read_text(encoding="utf-8"))
    assert set(one) == {"file", "seconds", "whole", "timeline", "model"}
    assert one["model"] == str(bundle)
    assert set(one["whole"]) == {
        "start", "end", "quadrant", "probabilities", "arousal", "valence", "arousal_range",
        "valence_range",
    }  # fmt: skip
    assert set(one["whole"]["probabilities"]) == {"Q1", "Q2", "Q3", "Q4"}


def test_a_change_of_quadrant_is_a_line(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, song(6, 16_000), 16_000)
    heard = predictor.predict(path)
    changes = 1 + sum(
        before.quadrant != after.quadrant
        for before, after in zip(heard.timeline, heard.timeline[1:], strict=False)
    )
    assert len(listen.describe(heard).splitlines()) == 1 + changes


@pytest.mark.parametrize(
    ("plot", "said"), [("song.wav", "write the picture as .png"), ("path", "write the picture as")]
)
def test_a_picture_of_no_known_kind_is_refused_first(plot: str, said: str, bundle: Path) -> None:
    with pytest.raises(UserError, match=said):
        listen.run([Path("any.wav")], str(bundle), None, Path(plot))


def test_an_answer_that_cannot_be_written_is_one_line(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, song(2, 16_000), 16_000)
    for options in ((tmp_path, None), (path / "answer.json", None), (None, path / "path.png")):
        with pytest.raises(UserError, match="cannot be written"):
            listen.run([path], str(bundle), *options)
    assert soundfile.info(path).duration == 2


def test_an_ensemble_answers_the_mean_of_its_members(
    cell: Path, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, song(3, 16_000), 16_000)
    together, *alone = (
        Predictor.load(place, CPU).predict(path).timeline
        for place in (
            cell,
            cell.with_name("full-0-0.safetensors"),
            cell.with_name("full-1-0.safetensors"),
        )
    )
    assert alone[0] == Predictor.load(bundle, CPU).predict(path).timeline
    assert alone[0] != alone[1]
    assert all(one.arousal_range == (one.arousal, one.arousal) for one in alone[0])
    for both, *each in zip(together, *alone, strict=True):
        assert both.arousal == pytest.approx(np.mean([one.arousal for one in each]), abs=1e-4)
        assert both.arousal_range == tuple(sorted(one.arousal for one in each))
        assert both.valence_range == tuple(sorted(one.valence for one in each))
        for quadrant, p in both.probabilities.items():
            mean = np.mean([one.probabilities[quadrant] for one in each])
            assert p == pytest.approx(mean, abs=1e-4)


def test_no_model_or_a_broken_one_is_one_line(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model\.json here"):
        Predictor.load(tmp_path)
    write_json(tmp_path / DESCRIPTION, DESCRIBED)
    with pytest.raises(UserError, match=r"model\.safetensors: these weights do not fit"):
        Predictor.load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes((bundle / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(UserError, match="do not fit"):
        Predictor.load(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / WEIGHTS).mkdir()
    with pytest.raises(UserError, match="do not fit"):
        Predictor.load(tmp_path)


def section(name: str, **changes: object) -> dict[str, object]:
    return {name: {**DESCRIBED[name], **changes}}


ABSURD: dict[str, str | dict[str, object]] = {
    "cut": "{",
    "a list": "[]",
    "empty": "{}",
    "nothing": "",
    "no text": "\ud800",
    "another architecture": {"arch": "transformer"},
    "deep": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "long": " " * DESCRIPTION_BYTES + "{}",
    "huge layer": section("encoder", filters=[10**12, 4, 8]),
    "many large layers": section("classifier", trunk=[10**6] * 9),
    "many layers": section("classifier", trunk=[1] * 10**5),
    "large encoder": section("encoder", filters=[10**6] * 3),
    "large decoder": section("config", noise=1e300),
    "negative": section("classifier", trunk=[-5]),
    "nan": section("encoder", dropout=float("nan")),
    "bands": {"n_mels": 10**6},
    "frames": {"frames": 10**6},
    "other bands": section("features", n_mels=64),
    "rate": section("features", sample_rate=10**12),
    "no head": {"head": "none"},
    "members": {"members": 5},
    "no members": {"members": []},
    "hash": {"members": [{"repeat": 0, "fold": 0, "sha256": "../x", "validation": {}}]},
    "a path": {"members": [{"repeat": "../../x", "fold": 0, "sha256": "0" * 64, "validation": {}}]},
    "twice": {
        "members": [{"repeat": 0, "fold": 0, "sha256": "0" * 64, "validation": {}}] * 2
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ABSURD)
def test_a_description_that_is_none_is_one_line_and_takes_no_memory(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    content = ABSURD[name]
    text = content if isinstance(content, str) else json.dumps(DESCRIBED | content)
    (tmp_path / DESCRIPTION).write_bytes(text.encode(errors="surrogatepass"))
    (tmp_path / WEIGHTS).write_bytes((bundle / WEIGHTS).read_bytes())
    with pytest.raises(UserError, match=r"model\.(json|safetensors): ") as refused:
        Predictor.load(tmp_path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("name", ["folder", "fifo"])
def test_what_is_no_file_is_no_description(name: str, tmp_path: Path) -> None:
    path = tmp_path / DESCRIPTION
    path.mkdir() if name == "folder" else os.mkfifo(path)
    with pytest.raises(UserError, match="no description of a model"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("at", ["header", "middle", "last byte"])
def test_a_flipped_bit_is_found(at: str, tmp_path: Path) -> None:
    path = write_ensemble(tmp_path / DESCRIPTION, 0, 1)
    weights = weights_path(path, 1, 0)
    content = bytearray(weights.read_bytes())
    content[{"header": 12, "middle": len(content) // 2, "last byte": -1}[at]] ^= 1
    weights.write_bytes(content)
    for place in (tmp_path, weights):
        with pytest.raises(UserError, match=r"model-1-0\.safetensors: .*sha256 differs"):
            Predictor.load(place)
    assert Predictor.load(weights_path(path, 0, 0)).models


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    model = network(0)
    with torch.no_grad():
        next(iter(model.heads.blocks.values()))[-1].bias[0] = value
    save_weights(tmp_path / WEIGHTS, model)
    write_json(tmp_path / DESCRIPTION, DESCRIBED)
    with pytest.raises(UserError, match="values that are no finite numbers"):
        Predictor.load(tmp_path)


def test_an_answer_that_is_no_number_is_an_error_and_never_q1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Finite weights, so large that the answer is not."""
    model = network(0)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.fill_(3e38)
    save_weights(tmp_path / WEIGHTS, model)
    write_json(tmp_path / DESCRIPTION, DESCRIBED)
    path = tmp_path / "song.wav"
    soundfile.write(path, song(2, 16_000), 16_000)
    assert not listen.run([path], str(tmp_path), None, None)
    told = capsys.readouterr()
    assert "the model's answer is no number" in told.err
    assert told.out == ""


def test_weights_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    path = write_ensemble(tmp_path / DESCRIPTION, 0)
    weights = weights_path(path, 0, 0)
    for change in (lambda t: t.double(), lambda t: t[None]):
        state = {name: change(tensor) for name, tensor in network(0).state_dict().items()}
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, weights)
        members = [{"repeat": 0, "fold": 0, "sha256": sha256(weights), "validation": {}}]
        write_json(path, DESCRIBED | {"members": members})
        with pytest.raises(UserError, match="described, .* there"):
            Predictor.load(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "mlflow.pyfunc"]:
    """An ensemble as MLflow has it."""
    folder = tmp_path_factory.mktemp("served") / "model"
    path = write_ensemble(tmp_path_factory.mktemp("ensemble") / DESCRIPTION, 0, 1)
    registry._save_pyfunc(folder, path.parent)
    return folder, mlflow.pyfunc.load_model(str(folder))


def test_the_registered_model_holds_no_pickle(served: tuple[Path, object]) -> None:
    folder, _ = served
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert {"model.json", "model-1-0.safetensors", "pyfunc_model.py"} <= set(names)
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".joblib"))]
    for path in folder.rglob("*"):  # a pickle by another name begins with the protocol opcode
        assert not path.is_file() or not path.read_bytes().startswith(b"\x80")


def test_the_registered_model_answers_what_predict_answers(
    served: tuple[Path, "mlflow.pyfunc"], cell: Path, tmp_path: Path
) -> None:
    path = tmp_path / "song.mp3"
    soundfile.write(path, song(3, 44_100, 2), 44_100)
    audio = base64.b64encode(path.read_bytes()).decode()
    answers = served[1].predict([{"audio": audio, "name": "my song"}, {"audio": audio}])
    told = Predictor.load(cell, CPU).predict(path).to_json()
    assert [answer["file"] for answer in answers] == ["my song", "song"]
    assert answers[0]["seconds"] == told["seconds"]
    for answer in answers:
        assert answer["whole"]["arousal"] == pytest.approx(told["whole"]["arousal"], abs=0.02)


def test_the_registered_model_reads_no_path(
    served: tuple[Path, "mlflow.pyfunc"], tmp_path: Path
) -> None:
    path = tmp_path / "secret söng.wav"
    soundfile.write(path, song(2, 16_000), 16_000)
    coded = base64.b64encode(str(path).encode()).decode()
    for request in (str(path), "/etc/passwd", coded, "", "é" * 8):
        [answer] = served[1].predict([{"audio": request, "name": "x"}])
        assert set(answer) == {"file", "error"}, request
        assert "/tmp" not in answer["error"]
    with pytest.raises(mlflow.exceptions.MlflowException):
        served[1].predict([{"path": str(path)}])
    with pytest.raises(mlflow.exceptions.MlflowException):
        served[1].predict([str(path)])
