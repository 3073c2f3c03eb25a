"""A group's tracking server: MLflow's own, on a database and S3, behind passwords and known hosts."""

import os
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import click

from recitative.errors import UserError
from recitative.tracking.store import is_server, tracking_uri

DRIVER = "postgresql+pg8000://"
EXTRA = "pip install -c constraints.txt -e '.[server]'"
PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # read by MLflow on the first start only
_REMEMBERED = 60  # s until a password that was changed by hand in the database no longer holds
_LOCAL = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Server:
    """What a server is made of."""

    database: str  # URL of the runs, the registry and the users: ``postgresql://…``
    # where the server keeps artifacts: ``s3://bucket/prefix`` or a folder. Clients send them to the
    # server, so they need no keys of the bucket
    artifacts: str
    host: str  # address to listen on
    port: int  # to listen on
    # names under which clients may ask; others are refused (DNS rebinding)
    allowed_hosts: Sequence[str]
    workers: int  # processes that answer
    folder: Path  # for the server's secret and its settings; only its owner may read them

    def command(self) -> list[str]:
        """MLflow's command line; the database's password is not in it: `ps` would show it."""
        hosts = [host for name in (*_LOCAL, *self.allowed_hosts) for host in (name, f"{name}:*")]
        return [
            "mlflow", "server",
            "--app-name", "basic-auth",
            "--serve-artifacts",
            "--artifacts-destination", self.artifacts,
            "--host", self.host,
            "--port", str(self.port),
            "--workers", str(self.workers),
            "--allowed-hosts", ",".join(hosts),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """What the command needs; writes the settings and, once, the secret that signs sessions.

        Raises:
            UserError: the extra `server` is not installed.
        """
        for module in ("flask_wtf", "pg8000"):
            if find_spec(module) is None:
                raise UserError(f"the tracking server needs {module}: {EXTRA}")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = self.folder / "basic_auth.ini"
        _write_private(
            settings,
            "[mlflow]\n"
            "authorization_function = recitative.tracking.rules:authorize\n"
            "default_permission = MANAGE\n"  # what the rules let through
            f"database_uri = {self._url().replace('%', '%%')}\n"
            "admin_username = admin\n"
            # Hashing a password takes longer than answering, and a training asks often.
            f"auth_cache_ttl_seconds = {_REMEMBERED}\n",
        )
        secret = self.folder / "secret"
        if not secret.exists():
            _write_private(secret, secrets.token_hex(32))
        return {
            "MLFLOW_BACKEND_STORE_URI": self._url(),
            "MLFLOW_AUTH_CONFIG_PATH": str(settings.resolve()),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret.read_text(),
            # Judging and optimising prompts: eight processes, 2 GB, that nobody here asks anything.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }

    def _url(self) -> str:
        """The database by the driver that the extra installs."""
        return self.database.replace("postgresql://", DRIVER, 1)


def serve(server: Server) -> None:
    """Become the server; it ends with this process.

    Raises:
        UserError: something is not installed.
    """
    environment = {**os.environ, **server.environment()}
    environment.pop("MLFLOW_TRACKING_URI", None)  # it is the one that others track to
    os.execvpe("mlflow", server.command(), environment)


def start(
    database: str,
    artifacts: str,
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    workers: int,
) -> None:
    """`recitative server start`: see `Server`.

    Raises:
        UserError: the database's password was typed as an option.
    """
    if urlsplit(database).password and os.environ.get("RECITATIVE_DATABASE") != database:
        raise UserError(
            "--database: the process list shows its password; export RECITATIVE_DATABASE instead"
        )
    folder = Path(".recitative") / "server"
    serve(Server(database, artifacts, host, port, allowed_hosts, workers, folder))


def add_user(name: str, password: str) -> None:
    """Give somebody a name and a password on the server that MLFLOW_TRACKING_URI names.

    What they may do then: `recitative.tracking.rules`.

    Raises:
        UserError: there is no server, or it refuses: the name is taken, the password too short, you
            are no administrator.
    """
    from mlflow.exceptions import MlflowException

    with warnings.catch_warnings():  # of what MLflow's own modules import
        warnings.simplefilter("ignore")
        from mlflow.server import get_app_client

    if not is_server():
        raise UserError(
            f"{tracking_uri()}: no server; set MLFLOW_TRACKING_URI=http://admin:PASSWORD@HOST:PORT"
        )
    try:
        get_app_client("basic-auth", tracking_uri=tracking_uri()).create_user(name, password)
    except MlflowException as error:
        raise UserError(f"{name}: no such user was made: {' '.join(str(error).split())}") from error
    click.echo(f"{name} may read and write; MLFLOW_TRACKING_URI=http://{name}:PASSWORD@HOST:PORT")


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
