"""The way to a tracking server, which may be away for a while: a training is worth more than a server.

Nothing here concerns a local store.
"""

import os
import time

import click

from recitative.errors import UserError
from recitative.tracking.store import answers, tracking_uri

PATIENCE = "RECITATIVE_SERVER_PATIENCE"  # s that a server may be away
_PATIENCE = 1800.0  # s
_PAUSE = 0.5  # s between two tries


def wait_for_server() -> None:
    """Come back when the server answers; at once where it does, or where there is none.

    Raises:
        UserError: it was away for longer than RECITATIVE_SERVER_PATIENCE (1800 s).
    """
    if answers():
        return
    patience = float(os.environ.get(PATIENCE) or _PATIENCE)
    click.echo(f"{tracking_uri()} does not answer; waiting for it, nothing is lost", err=True)
    end = time.monotonic() + patience
    while not answers():
        if time.monotonic() > end:
            raise UserError(
                f"{tracking_uri()}: no answer for {patience:g} s; what was trained is kept: start the "
                f"server and run again, or raise {PATIENCE}"
            )
        time.sleep(_PAUSE)
