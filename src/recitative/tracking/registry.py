"""The registry: versions of `mer-eng` and `mer-man`, and which of them is champion.

A version is known by the hash of its weights, so that registering twice makes one version.
"""

import hashlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from recitative.errors import UserError
from recitative.tracking.runs import run_here_or_new
from recitative.tracking.store import client, project_root

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException

CHAMPION, CHALLENGER = "champion", "challenger"
SHA256 = "sha256"
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; no such alias


@dataclass(frozen=True)
class Version:
    """A registered version."""

    name: str
    number: str
    tags: Mapping[str, str]
    source: str

    @property
    def uri(self) -> str:
        """How MLflow names it."""
        return f"models:/{self.name}/{self.number}"


def model_name(music_language: str) -> str:
    """``mer-eng`` or ``mer-man``."""
    return f"mer-{music_language}"


@contextmanager
def registering() -> Iterator[None]:
    """One process of this checkout registers at a time: there is never more than one champion."""
    with FileLock(project_root() / ".recitative" / "registry.lock"):
        yield


def by_alias(name: str, alias: str) -> Version | None:
    """The version that has an alias, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return _version(client().get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if not _is_unknown(name, error):  # a store that fails is no store without a champion
            raise
        return None


def _is_unknown(name: str, error: "MlflowException") -> bool:
    """Whether an answer about a model or its alias says that there is none."""
    if error.get_http_status_code() == 403:  # so says a server with passwords of what is not there
        return not client().search_registered_models(f"name = '{name}'")
    return error.error_code in UNKNOWN


def register(name: str, bundle: Path, run_id: str, tags: Mapping[str, Any]) -> Version:
    """Register the model in `bundle` under `run_id`; the same weights give the same version."""
    from mlflow.exceptions import MlflowException

    sha256 = hashlib.sha256((bundle / "model.safetensors").read_bytes()).hexdigest()
    place = f"model-{sha256[:12]}"  # among the run's artifacts
    try:
        client().create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for found in client().search_model_versions(f"name = '{name}'"):
        if found.tags.get(SHA256) == sha256:
            version = _version(found)
            try:
                bundle_of(version)
            except UserError:  # its files were lost: they are here again
                _upload(found.run_id, bundle, place)
            return _tag(version, tags)
    run_id = run_here_or_new(run_id, name, {"pairing": tags.get("pairing", "unknown")})
    _upload(run_id, bundle, place)
    source = f"{client().get_run(run_id).info.artifact_uri}/{place}"
    made = client().create_model_version(name, source, run_id, tags={SHA256: sha256})
    return _tag(_version(made), tags)


def _upload(run_id: str, bundle: Path, place: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _save_pyfunc(Path(folder) / place, bundle)
        client().log_artifacts(run_id, folder)


def _save_pyfunc(folder: Path, bundle: Path) -> None:
    import mlflow

    from recitative import __version__

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Any type hint")  # an answer's values differ
        mlflow.pyfunc.save_model(
            path=folder,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"bundle": str(bundle)},
            pip_requirements=[f"recitative=={__version__}"],
        )


def _tag(version: Version, tags: Mapping[str, Any]) -> Version:
    for name, value in tags.items():
        client().set_model_version_tag(version.name, version.number, name, str(value)[:5000])
    return version


def set_alias(version: Version, alias: str) -> None:
    """Give the alias to this version; a version is champion or challenger, never both."""
    other = CHALLENGER if alias == CHAMPION else CHAMPION
    holder = by_alias(version.name, other)
    _point(version, alias)
    if holder and holder.number == version.number:
        client().delete_registered_model_alias(version.name, other)


def _point(version: Version, alias: str) -> None:
    """Let the alias name this version, also where another machine does so at this moment.

    MLflow looks whether the alias is there, then inserts it: of two at once the database refuses one,
    which then finds it and replaces it.
    """
    from mlflow.exceptions import MlflowException

    try:
        client().set_registered_model_alias(version.name, alias, version.number)
    except MlflowException as error:
        if "IntegrityError" not in str(error):
            raise
        client().set_registered_model_alias(version.name, alias, version.number)


def bundle_of(version: Version) -> Path:
    """The folder with the version's model.json and model.safetensors, fetched where it is remote."""
    import mlflow

    try:
        found = mlflow.artifacts.download_artifacts(artifact_uri=f"{version.source}/artifacts")
        [bundle] = Path(found).iterdir()  # MLflow names it after the folder that it was saved from
    except Exception as error:  # every artifact store has an error type of its own
        raise UserError(
            f"{version.uri}: its files cannot be read from {version.source} ({error}); "
            "run `dvc repro --force register` to register it again"
        ) from error
    return bundle


def resolve(uri: str) -> Version:
    """The version that ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` names.

    Raises:
        UserError: it is no such address, or there is no such version.
    """
    from mlflow.exceptions import MlflowException

    address = uri.removeprefix("models:/")
    name, separator, which = address.partition("@" if "@" in address else "/")
    if not uri.startswith("models:/") or not separator or not which:
        raise UserError(f"{uri}: no address of a model; write models:/mer-eng@champion")
    try:
        found = (
            client().get_model_version_by_alias(name, which)
            if "@" in address
            else client().get_model_version(name, which)
        )
    except MlflowException as error:
        if not _is_unknown(name, error):
            raise
        raise UserError(
            f"{uri}: no such model in the registry; `make demo` or `dvc repro` makes one"
        ) from error
    return _version(found)


def _version(found: "ModelVersion") -> Version:
    return Version(found.name, str(found.version), dict(found.tags), found.source)
