"""`recitative audit`: what data is there, whether a split leaks, what the paper printed."""

import click

from recitative.corpora.audit_data import audit_data, format_audit
from recitative.corpora.certificate import audit_splits
from recitative.corpora.indexing import index_role, is_left_out
from recitative.evaluation.published import audit_published, format_findings
from recitative.experiment.places import DATA, INDEX, SPLITS
from recitative.features.extraction import least_seconds
from recitative.params import Params


def data(params: Params) -> None:
    """Print a table a role, and every file with a problem."""
    jobs = params.compute.processes
    indices = [
        index_role(role, config, DATA, jobs, params.emotions)
        for role, config in params.datasets.items()
        if not is_left_out(role, config, DATA)
    ]
    rate, least = params.features.sample_rate, least_seconds(params.features)
    click.echo(format_audit(audit_data(indices, DATA, rate, least, jobs)))


def splits() -> bool:
    """Print every leak in the split files as they are now; whether there is none."""
    leaks = audit_splits(INDEX, SPLITS)
    for leak in leaks:
        click.echo(f"LEAK: {leak}")
    if not leaks:
        click.echo(f"no leaks: {SPLITS}/certificate.json holds")
    return not leaks


def published() -> None:
    """Print what a recount of the paper's printed tables finds."""
    click.echo(format_findings(audit_published()))
