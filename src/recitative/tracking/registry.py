"""The registry: versions of `mer-eng` and `mer-man`, and which of them is champion.

A version is known by the hash of its description and weights (`fingerprint`), so that registering
twice makes one version.
"""

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from filelock import FileLock

from recitative.errors import UserError
from recitative.files import temporary_folder
from recitative.tracking.runs import run_here_or_new
from recitative.tracking.store import client, project_root, store_file

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
SHA256 = "sha256"
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; no such alias
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
ADDRESS = re.compile(rf"(?:models:/)?({NAME})(?:@({NAME})|/(\d{{1,9}}))?")
_LISTED = 20  # versions in an error


@dataclass(frozen=True)
class Version:
    """A registered version."""

    name: str
    number: str
    tags: Mapping[str, str]
    source: str

    @property
    def short(self) -> str:
        """How people name it: ``mer-eng/3``."""
        return f"{self.name}/{self.number}"

    @property
    def uri(self) -> str:
        """How MLflow names it."""
        return f"models:/{self.short}"


def model_name(music_language: str) -> str:
    """``mer-eng`` or ``mer-man``."""
    return f"mer-{music_language}"


@contextmanager
def registering() -> Iterator[None]:
    """One process of this checkout registers at a time: there is never more than one champion."""
    folder = project_root() / ".recitative"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "registry.lock"):
        yield


def by_alias(name: str, alias: str) -> Version | None:
    """The version that has an alias, or None."""
    return _found(client().get_model_version_by_alias, name, alias)


def _found(ask: "Callable[[str, str], ModelVersion]", name: str, which: str) -> Version | None:
    """The version that MLflow gives for a model and its alias or number; None where it has none."""
    from mlflow.exceptions import MlflowException

    try:
        return _version(ask(name, which))
    except MlflowException as error:
        unknown = error.error_code in UNKNOWN
        if error.get_http_status_code() == 403:  # so says a server with passwords, too
            unknown = not client().search_registered_models(f"name = '{name}'")
        if not unknown:  # a store that fails is no store without a champion
            raise
        return None


def register(name: str, bundle: Path, run_id: str, tags: Mapping[str, Any]) -> Version:
    """Register the model in `bundle` under `run_id`; the same model gives the same version."""
    from mlflow.exceptions import MlflowException

    from recitative.models.storage import fingerprint  # imports torch

    sha256 = fingerprint(bundle)
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

    with warnings.catch_warnings(record=True):  # of the type hint Any, past every filter
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


def describe(
    version: Version, tags: Mapping[str, Any], text: str | None = None, model: str | None = None
) -> None:
    """Set tags of a version, and what MLflow shows of it and of its model to read."""
    _tag(version, tags)
    if text is not None:
        client().update_model_version(version.name, version.number, text[:5000])
    if model is not None:
        client().update_registered_model(version.name, model[:5000])


def set_alias(version: Version, alias: str) -> None:
    """Give the alias to this version; a version is champion or challenger, never both.

    The champion does not become challenger: only another champion takes its place.
    """
    from mlflow.exceptions import MlflowException

    other = CHALLENGER if alias == CHAMPION else CHAMPION
    holder = by_alias(version.name, other)
    same = holder is not None and holder.number == version.number
    if same and alias == CHALLENGER:
        return
    try:
        client().set_registered_model_alias(version.name, alias, version.number)
    except MlflowException as error:
        # MLflow looks whether the alias is there, then inserts it: of two machines at once the
        # database refuses one, which then finds it and replaces it.
        if "IntegrityError" not in str(error):
            raise
        client().set_registered_model_alias(version.name, alias, version.number)
    if same:
        client().delete_registered_model_alias(version.name, other)


def bundle_of(version: Version) -> Path:
    """The folder with the version's model.json and weights, verified; fetched where it is remote.

    Raises:
        UserError: its files are lost, or are not those that were registered.
    """
    import mlflow

    from recitative.models.storage import fingerprint  # imports torch

    local = version.source.startswith(("/", "file:"))
    try:
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=f"{version.source}/artifacts",
            dst_path=None if local else str(temporary_folder()),
        )
        [bundle] = Path(found).iterdir()  # MLflow names it after the folder that it was saved from
    except Exception as error:  # every artifact store has an error type of its own
        raise UserError(
            f"{version.uri}: its files cannot be read from {version.source} ({error}); "
            "run `dvc repro --force register` to register it again"
        ) from error
    if fingerprint(bundle) != version.tags.get(SHA256):
        raise UserError(
            f"{version.uri}: the files in {version.source} are not those that were registered (their "
            f"sha256 differs from the version's tag {SHA256}); do not use them: run "
            "`dvc repro --force register` to register it again"
        )
    return bundle


def resolve(address: str) -> Version:
    """The version that an address names.

    It is ``mer-eng`` (its champion; without one its challenger, and says so), ``mer-eng/3`` or
    ``mer-eng@champion``, with or without ``models:/``.

    Raises:
        UserError: it is no such address, or there is no such version.
    """
    found = ADDRESS.fullmatch(address)
    if not found:
        raise UserError(
            f"{address}: no model's name; write mer-eng, mer-eng/3 or models:/mer-eng@champion"
        )
    name, alias, number = found.groups()
    file = store_file()
    if file and not file.is_file():  # to look for a model makes no store
        raise UserError(
            f"{address}: no model is registered here; run `make demo` or `dvc repro` in the project, "
            "or name a folder or an s3:// address"
        )
    if number:
        version = _found(client().get_model_version, name, number)
    elif alias:
        version = by_alias(name, alias)
    else:
        version = by_alias(name, CHAMPION)
        if version is None and (version := by_alias(name, CHALLENGER)):
            click.echo(f"note: {name} has no champion; this is its challenger", err=True)
    if version is None:
        raise UserError(f"{address}: no such model in the registry; {_known()}")
    return version


def versions() -> list[tuple[Version, str | None]]:
    """Every version there is, by name and number, with its alias."""
    found = []
    for model in client().search_registered_models():
        aliases = {str(number): alias for alias, number in model.aliases.items()}
        for one in client().search_model_versions(f"name = '{model.name}'"):
            found.append((_version(one), aliases.get(str(one.version))))
    return sorted(found, key=lambda pair: (pair[0].name, int(pair[0].number)))


def _known() -> str:
    """The versions there are, in a few words."""
    names = [one.short + (f" ({alias})" if alias else "") for one, alias in versions()]
    if not names:
        return "there is none yet: `make demo` or `dvc repro` makes one"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"there are {', '.join(names[:_LISTED])}{more}"


def _version(found: "ModelVersion") -> Version:
    return Version(found.name, str(found.version), dict(found.tags), found.source)
