"""`recitative audit data` and `recitative audit splits`: what is there, and whether it leaks."""

import click

from recitative.corpora.audit_data import audit_data, format_audit
from recitative.corpora.certificate import audit_splits
from recitative.corpora.indexing import index_role
from recitative.experiment.places import DATA, INDEX, SPLITS
from recitative.features.extraction import least_seconds
from recitative.params import Params


def data(params: Params) -> None:
    """Print a table a role, and every file with a problem."""
    jobs = params.compute.processes
    indices = [index_role(role, config, DATA, jobs) for role, config in params.datasets.items()]
    rate, least = params.features.sample_rate, least_seconds(params.features)
    click.echo(format_audit(audit_data(indices, DATA, rate, least, jobs)))


def splits() -> list[str]:
    """Print and return every leak in the split files as they are now."""
    leaks = audit_splits(INDEX, SPLITS)
    for leak in leaks:
        click.echo(f"LEAK: {leak}")
    if not leaks:
        click.echo(f"no leaks: {SPLITS}/certificate.json holds")
    return leaks
