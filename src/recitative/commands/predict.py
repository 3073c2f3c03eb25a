"""`recitative predict`: audio files -> emotion over time, on the screen, as JSON, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import click

from recitative.errors import UserError
from recitative.files import atomic_path, write_json
from recitative.predict import Prediction, Predictor
from recitative.tracking import registry
from recitative.tracking.local import local_bundle


def run(
    files: Sequence[Path], model: str | None, json_file: Path | None, plot_file: Path | None
) -> bool:
    """Hear every file; a file that cannot be heard is one line, and the others go on.

    Returns:
        Whether every file was heard.
    """
    if plot_file and plot_file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"{plot_file}: write the picture as .png, .svg or .pdf")
    predictor = Predictor.load(_folder(model))
    heard: list[Prediction] = []
    for path in files:
        try:
            heard.append(predictor.predict(path))
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            continue
        click.echo(describe(heard[-1]))
    if heard:
        try:
            _write(heard, json_file, plot_file)
        except OSError as error:
            raise UserError(
                f"{error.filename2 or error.filename}: cannot be written "
                f"({(error.strerror or str(error)).lower()}); name another file"
            ) from error
    return len(heard) == len(files)


def _write(heard: Sequence[Prediction], json_file: Path | None, plot_file: Path | None) -> None:
    if json_file:
        write_json(json_file, [one.to_json() for one in heard])
    if plot_file:
        from recitative.reports.circumplex import path_figure

        with atomic_path(plot_file) as temporary:
            path_figure(heard).savefig(temporary)


def describe(heard: Prediction) -> str:
    """One file's answer as a line for the whole and a line each time the quadrant changes."""
    whole = heard.whole
    lines = [
        f"{heard.file}: {heard.seconds:.1f} s, {whole.quadrant} "
        f"({whole.probabilities[whole.quadrant]:.2f}), arousal {whole.arousal:.2f}, "
        f"valence {whole.valence:.2f}"
    ]
    before = None
    for emotion in heard.timeline:
        if emotion.quadrant != before:
            lines.append(f"  from {emotion.start:6.1f} s  {emotion.quadrant}")
        before = emotion.quadrant
    return "\n".join(lines)


def _folder(model: str | None) -> Path:
    """The folder of the model asked for; without one, the best there is in the registry."""
    if model and model.startswith("s3://"):
        from recitative.commands.share import model_from

        return model_from(model)
    if model and not model.startswith("models:/"):
        return Path(model)
    if model:
        named, _, which = model.removeprefix("models:/").replace("@", "/").partition("/")
        return local_bundle(named, which) or registry.bundle_of(registry.resolve(model))
    name = registry.model_name("eng")
    if near := local_bundle(name, registry.CHAMPION):
        return near
    if champion := registry.by_alias(name, registry.CHAMPION):
        return registry.bundle_of(champion)
    if challenger := registry.by_alias(name, registry.CHALLENGER):
        click.echo(f"note: {name} has no champion; this is its challenger", err=True)
        return registry.bundle_of(challenger)
    raise UserError(f"no model {name} is registered yet: run `make demo`, or `dvc repro`")
