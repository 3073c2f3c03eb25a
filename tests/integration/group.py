"""A group's tracking server as `recitative server start` makes it, to be killed and started again."""

import http.client
import json
import subprocess
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services import environment, kill, process, until

PASSWORD = "a long enough one"
ADMIN = ("admin", PASSWORD)
MEMBER = ("ada", "p@ss/word: of hers")  # with what an address must escape


@dataclass
class Group:
    """The server, its address, and what it was started with."""

    database: str
    artifacts: str
    s3: str
    folder: Path
    keys: dict[str, str]  # of the bucket: the server's alone
    port: int
    _stack: ExitStack = field(default_factory=ExitStack)
    _server: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """What a member sets as MLFLOW_TRACKING_URI: nothing else is needed."""
        return f"http://{MEMBER[0]}:p%40ss%2Fword%3A%20of%20hers@127.0.0.1:{self.port}"

    def uri_of(self, name: str) -> str:
        """Another member's, whose password is PASSWORD."""
        return f"http://{name}:a%20long%20enough%20one@127.0.0.1:{self.port}"

    @property
    def admin_uri(self) -> str:
        return self.uri_of("admin")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            "recitative", "server", "start", "--artifacts", self.artifacts,
            "--port", str(self.port), "--workers", "2", "--allowed-host", "mlflow.example.org",
        ]  # fmt: skip
        more = {
            **self.keys,
            "AWS_DEFAULT_REGION": "us-east-1",
            "RECITATIVE_DATABASE": self.database,
            "AWS_ENDPOINT_URL_S3": self.s3,
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        }
        log = self.folder / "server.log"
        self._server = self._stack.enter_context(
            process(command, log, environment(**more), self.folder)
        )

        def ready() -> bool:
            assert self._server is not None
            assert self._server.poll() is None, log.read_text()[-3000:]
            return self.ask("/health") == 200

        until(ready, "the tracking server")

    def kill(self) -> None:
        """It and its workers, at once (-9)."""
        assert self._server
        kill(self._server)

    def stop(self) -> None:
        self._stack.close()

    def ask(self, path: str, who: tuple[str, str] | None = None, host: str = "") -> int:
        """The status of an answer; 0 where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Host": host or f"127.0.0.1:{self.port}", "Content-Type": "application/json"}
        if who:
            headers["Authorization"] = f"Basic {b64encode(':'.join(who).encode()).decode()}"
        body = None if path == "/health" else json.dumps({"max_results": 5})
        try:
            connection.request("POST" if body else "GET", path, body, headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()
