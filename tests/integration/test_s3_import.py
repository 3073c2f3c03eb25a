"""Corpora that lie on S3: DVC's own import brings them, and the stages need to know nothing of it."""

from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from projects import Project, grow, make_project

from conftest import Server
from recitative.features.store import FeatureStore
from trees import write_tone

pytestmark = pytest.mark.integration
BUCKET = "speech"


@pytest.fixture
def bucket(moto_server: Server, tmp_path: Path) -> Any:
    """The four corpora below s3://speech/corpora."""
    grow(tmp_path / "corpora")
    bucket = boto3.resource("s3", endpoint_url=moto_server.url).create_bucket(Bucket=BUCKET)
    for path in (tmp_path / "corpora").rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), path.relative_to(tmp_path).as_posix())
    yield bucket
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def project(moto_server: Server, tmp_path: Path) -> Project:
    """A clone without the import of the embedded corpus, that knows where the bucket is."""
    project = make_project(tmp_path / "project", tracked=True)
    project.shell("dvc", "remove", "data.dvc")
    project.shell("dvc", "remote", "add", "corpora", f"s3://{BUCKET}/corpora")
    project.shell("dvc", "remote", "modify", "corpora", "endpointurl", moto_server.url)
    return project


def test_features_of_corpora_that_are_imported_from_s3(
    project: Project, bucket: Any, tmp_path: Path
) -> None:
    project.shell("dvc", "import-url", "remote://corpora/", "data")
    imported = yaml.safe_load((project.root / "data.dvc").read_text())
    assert imported["deps"][0]["path"] == "remote://corpora/"
    told = project.shell("dvc", "repro", "featurize").stdout
    assert "speech-eng: 12 clips" in told
    assert len(FeatureStore.open(project.root / "build/features/speech-eng").clip_ids) == 12
    again = project.shell("dvc", "repro", "featurize").stdout
    assert "Running stage" not in again

    # One file more over there: `dvc update` brings it, and its frames alone are computed.
    new = write_tone(tmp_path / "corpora/LibriSpeech/train-clean-100/19/198/19-198-0009.flac", 5)
    bucket.upload_file(str(new), new.relative_to(tmp_path).as_posix())
    project.shell("dvc", "update", "data.dvc")
    assert "speech-eng: 13 clips" in (told := project.shell("dvc", "repro", "featurize").stdout)
    assert "(1 computed, 12 cached)" in told


def test_a_colleague_fetches_what_was_imported(project: Project, bucket: Any) -> None:
    """The import is written on a machine without room for the corpora, and fetched on another."""
    project.shell("dvc", "import-url", "--no-download", "remote://corpora/", "data")
    assert not list((project.root / "data").rglob("*.flac"))
    refused = project.shell("recitative", "index", check=False)
    assert "no LibriSpeech corpus there" in refused.stderr
    project.shell("dvc", "pull", "data")
    assert "speech-eng: 12 clips" in project.shell("recitative", "index").stdout
