"""`recitative promote mer-eng/3`: make a version champion by hand, after the comparison is shown."""

import click

from recitative.errors import UserError
from recitative.evaluation.promotion import above_champion
from recitative.predict import Predictor
from recitative.seeding import derive_rng
from recitative.stages.register import songs_of
from recitative.tracking import RegistryConfig, registry


def run(address: str) -> None:
    """Let `champion` name this version. Only the registry changes, no file of the project.

    Raises:
        UserError: there is no such version, or it cannot be loaded.
    """
    version = registry.resolve(address)
    Predictor.load(registry.bundle_of(version))  # a model that cannot be used is no champion
    with registry.registering():
        champion = registry.by_alias(version.name, registry.CHAMPION)
        if champion and champion.number == version.number:
            click.echo(f"{version.short} is the champion already")
            return
        click.echo(f"{version.short}: {_what(version)}")
        click.echo(_comparison(version, champion))
        registry.set_alias(version, registry.CHAMPION)
        registry.describe(version, {"decision": "champion, by `recitative promote`"})
    back = f"; `recitative promote {champion.short}` reverts it" if champion else ""
    click.echo(f"{version.short} is the champion of {version.name} now{back}")


def _what(version: registry.Version) -> str:
    names = ("pairing", "arch", "transfer_mode", "protocol")
    told = " ".join(version.tags[name] for name in names if name in version.tags)
    return told + (", synthetic" if version.tags.get("synthetic") == "true" else "")


def _comparison(version: registry.Version, champion: registry.Version | None) -> str:
    if champion is None:
        return "there is no champion yet"
    told = f"champion now: {champion.short}: {_what(champion)}\n"
    rng = derive_rng(0, "promote", version.name)
    try:
        songs = songs_of(version), songs_of(champion)
        return told + above_champion(*songs, RegistryConfig().draws, rng).reason
    except UserError as error:
        return f"{told}they cannot be compared: {error}"
