"""A group's tracking server as `recitative server start` makes it, to be killed and started again."""

import http.client
import json
import subprocess
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services import environment, kill, process, until

PASSWORD = "a long enough one"
ADMIN = ("admin", PASSWORD)
MEMBER = ("ada", "p@ss/word: of hers")  # with what an address must escape

OTHER = ("bob", PASSWORD)


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
        if path == "/health":
            return self.request("GET", path, who, host=host)[0]
        return self.request("POST", path, who, {"max_results": 5}, host)[0]

    def request(
        self,
        method: str,
        path: str,
        who: tuple[str, str] | None = None,
        body: Any = None,
        host: str = "",
    ) -> tuple[int, str]:
        """Status and text of an answer; 0 where there is none. `body`: bytes, or JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Host": host or f"127.0.0.1:{self.port}", "Content-Type": "application/json"}
        if who:
            headers["Authorization"] = f"Basic {b64encode(':'.join(who).encode()).decode()}"
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        try:
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()
