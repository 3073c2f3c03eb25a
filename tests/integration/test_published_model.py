"""`recitative publish`, then `recitative predict --model s3://…` elsewhere: the same answer."""

import json
from pathlib import Path

import boto3
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from conftest import Server
from recitative.cli import cli
from recitative.features.mel import FeatureConfig
from recitative.files import sha256, write_json
from recitative.models.config import ClassifierConfig, EncoderConfig, SCAEConfig
from recitative.models.storage import (
    build_classifier,
    build_encoder,
    describe,
    save_weights,
    weights_path,
)
from recitative.tracking import registry

pytestmark = pytest.mark.integration
FEATURES = FeatureConfig()


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small random ensemble that the registry names mer-eng, version 1, champion."""
    folder = tmp_path / "registered"
    encoder = EncoderConfig(filters=(4, 4, 8))
    description = describe("scae", encoder, SCAEConfig(), FEATURES.n_mels, FEATURES.segment_frames)
    description |= {
        "head": "flatten",
        "classifier": ClassifierConfig(trunk=(8,), block=(8,)).model_dump(mode="json"),
        "features": FEATURES.model_dump(mode="json"),
    }
    folder.mkdir()
    members = []
    for repeat in (0, 1):
        torch.manual_seed(repeat)
        path = weights_path(folder / "model.json", repeat, 0)
        save_weights(path, build_classifier(description, build_encoder(description)))
        members.append({"repeat": repeat, "fold": 0, "sha256": sha256(path), "validation": {}})
    write_json(folder / "model.json", description | {"members": members})
    tags = {"arch": "scae", "pairing": "eng2eng", "transfer_mode": "full"}
    version = registry.Version("mer-eng", "1", tags, "nowhere")
    monkeypatch.setattr(registry, "resolve", lambda _: version)
    monkeypatch.setattr(registry, "bundle_of", lambda _: folder)
    return folder


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_published_model_answers_as_the_registered_one(
    registered: Path, moto_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.url)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / ".recitative").mkdir()
    boto3.client("s3", endpoint_url=moto_server.url).create_bucket(Bucket="group")
    song = tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)

    said = run("publish", "models:/mer-eng@champion", "s3://group/models", "--song", str(song))
    address = next(word for word in said.split() if word.startswith("s3://group/models/mer-eng/"))
    run("predict", str(song), "--model", address, "--json", "there.json")
    run("predict", str(song), "--model", str(registered), "--json", "here.json")
    there, here = (json.loads(Path(f"{name}.json").read_text()) for name in ("there", "here"))
    assert [one.pop("model") for one in (*there, *here)] == [address, str(registered)]
    assert there == here
    [kept] = (tmp_path / ".recitative" / "models").iterdir()
    assert {path.name for path in kept.iterdir()} == {
        "README.md", "model.json", "model-0-0.safetensors", "model-1-0.safetensors",
        "prediction.json",
    }  # fmt: skip
    promised = json.loads((kept / "prediction.json").read_text())
    assert promised["whole"] == here[0]["whole"]
    assert promised["file"] == "song.wav"  # no path of the machine it was made on
    assert "eng2eng" in (kept / "README.md").read_text()
    assert "was there already" in run(
        "publish", "models:/mer-eng@champion", "s3://group/models", "--song", str(song)
    )


def test_the_check_is_a_command(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3", endpoint_url=moto_server.url).create_bucket(Bucket="tried")
    said = run("remote", "check", "s3://tried/x", "--endpoint-url", moto_server.url)
    assert said.count("yes ") == 6
