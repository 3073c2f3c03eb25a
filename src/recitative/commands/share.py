"""`recitative remote check` and `recitative publish`: a group's place on S3, and models on it."""

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import click

from recitative.files import temporary_folder, write_json
from recitative.models.storage import DESCRIPTION, read_description, weights_files
from recitative.predict import Predictor
from recitative.remote.bundles import fetch, publish
from recitative.remote.check import check
from recitative.tracking import registry
from recitative.tracking.store import project_root


def run_check(address: str, endpoint_url: str | None) -> None:
    """Print each ability as it is proved."""
    for ability in check(address, endpoint_url):
        click.echo(f"yes  {ability.name:18} {ability.detail}")


def run_publish(model: str, address: str, song: Path | None, endpoint_url: str | None) -> None:
    """Put a registered model (``mer-eng/3``) below ``s3://bucket/prefix``, as a bundle.

    What the model says of `song` goes with it, so that a reader can compare.

    Raises:
        UserError: no such model, the song cannot be heard, or the server fails.
    """
    version = registry.resolve(model)
    source = registry.bundle_of(version)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        described = source / DESCRIPTION
        weights = weights_files(described, read_description(described))
        for path in (described, *(file.path for file in weights)):
            shutil.copyfile(path, folder / path.name)
        tags = defaultdict(lambda: "unknown", version.tags)
        text = Path(__file__).with_name("card.txt").read_text(encoding="utf-8")
        card = text.format(
            name=version.name, number=version.number, address=address, arch=tags["arch"],
            mode=tags["transfer_mode"], pairing=tags["pairing"],
            tags="\n".join(f"- {name}: {text}" for name, text in sorted(version.tags.items())),
        )  # fmt: skip
        (folder / "README.md").write_text(card, encoding="utf-8")
        if song:
            heard = Predictor.load(folder).predict(song).to_json() | {"file": song.name}
            write_json(folder / "prediction.json", heard)
        about = {"registered": version.uri, **version.tags}
        done = publish(
            folder, version.name, address, about, endpoint_url,
            lambda name: click.echo(f"sent {name}", err=True),
        )  # fmt: skip
    word = "published" if done.new else "was there already"
    click.echo(f"{done.address} {word}\nuse it: recitative predict FILE --model {done.address}")


def model_from(address: str, endpoint_url: str | None = None) -> Path:
    """A published model's folder, verified: in the project's cache; outside a project, for now."""
    own = project_root() / ".recitative"
    return fetch(address, own / "models" if own.is_dir() else temporary_folder(), endpoint_url)
