"""`recitative split`: build/index/ -> build/splits/<role>.csv and certificate.json."""

import click

from recitative.corpora.base import ROLES
from recitative.corpora.certificate import certify
from recitative.corpora.indexing import indexed_roles, read_index
from recitative.corpora.splits import make_splits, write_splits
from recitative.experiment.places import INDEX, SPLITS
from recitative.files import atomic_folder, write_json
from recitative.params import Params


def run(params: Params) -> None:
    """Balance, divide and certify. A leak is written into the certificate and stops later stages."""
    index = {role: read_index(INDEX, role) for role in indexed_roles(INDEX)}
    splits, notes = make_splits(index, params.split, params.balance, params.seed)
    certificate = certify(index, splits, params.split, params.seed, notes)
    with atomic_folder(SPLITS) as folder:
        for role in ROLES:  # a table without rows for emotional speech that is not there
            write_splits(folder, role, splits.get(role, []))
        write_json(folder / "certificate.json", certificate)
    for note in certificate["notes"]:
        click.echo(f"note: {note}")
    for leak in certificate["leaks"][:5]:
        click.echo(f"LEAK: {leak}")
    click.echo(f"{len(certificate['leaks'])} leaks; {SPLITS}/certificate.json")
