"""`recitative predict`: audio files -> emotion over time, on the screen, as JSON, as a picture."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click

from recitative.errors import UserError
from recitative.files import atomic_path, write_json
from recitative.predict import Prediction, Predictor
from recitative.tracking import registry


def run(
    files: Sequence[Path], model: str | None, json_file: Path | None, plot_file: Path | None
) -> bool:
    """Hear every file; a file that cannot be heard is one line, and the others go on.

    Returns:
        Whether every file was heard.
    """
    if plot_file and plot_file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"{plot_file}: write the picture as .png, .svg or .pdf")
    name, place = _place(model)
    predictor = Predictor.load(place)
    click.echo(f"model: {name}", err=True)
    heard: list[Prediction] = []
    for path in files:
        try:
            heard.append(predictor.predict(path))
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            continue
        click.echo(describe(heard[-1]))
    try:
        if heard and json_file:
            write_json(json_file, [one.to_json() | {"model": name} for one in heard])
        if heard and plot_file:
            from recitative.reports.circumplex import path_figure

            with atomic_path(plot_file) as temporary:
                path_figure(heard).savefig(temporary)
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename}: cannot be written "
            f"({(error.strerror or str(error)).lower()}); name another file"
        ) from error
    return len(heard) == len(files)


def describe(heard: Prediction) -> str:
    """One file's answer as a line for the whole and a line each time the quadrant changes."""
    whole = heard.whole
    lines = [
        f"{heard.file}: {heard.seconds:.1f} s, {whole.quadrant} "
        f"({whole.probabilities[whole.quadrant]:.2f}), arousal {whole.arousal:.2f}, "
        f"valence {whole.valence:.2f}"
    ]
    for quadrant, same in groupby(heard.timeline, lambda emotion: emotion.quadrant):
        lines.append(f"  from {next(same).start:6.1f} s  {quadrant}")
    return "\n".join(lines)


def _place(model: str | None) -> tuple[str, Path]:
    """What the model asked for is called, and where it lies; without one, the best for English."""
    if model and model.startswith("s3://"):
        from recitative.commands.share import model_from

        return model, model_from(model)
    if model and not registry.ADDRESS.fullmatch(model) or model and Path(model).exists():
        return model, Path(model)
    version = registry.resolve(model or registry.model_name("eng"))
    return version.short, registry.bundle_of(version)
