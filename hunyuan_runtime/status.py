"""The rank's own small HTTP server: ``/status``, ``/readyz`` and ``/livez``, from the first second to the last."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, TypeVar

from hunyuan_runtime.config import RuntimeStatus
from hunyuan_runtime.train_config import TrainStatus

Status = TypeVar("Status", RuntimeStatus, TrainStatus)


class StatusServer(Generic[Status]):
    """Answers on ``port`` from its own thread, so that a probe never waits for a loading model.

    The status is one frozen record that is replaced as a whole: readers need no lock.
    """

    def __init__(self, port: int, status: Status, host: str = "") -> None:
        self.status: Status = status
        self.ready = False
        self._server = ThreadingHTTPServer((host, port), self._handler())
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def update(self, **changes: Any) -> None:
        self.status = self.status.model_copy(update=changes)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, str]:
        """Status code and body for a path."""
        match path:
            case "/status":
                return 200, self.status.model_dump_json()
            case "/livez":
                return 200, "ok"
            case "/readyz":
                return (200, "ok") if self.ready else (503, f"not ready: {self.status.phase}")
            case _:
                return 404, "unknown path"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, text = answer(self.path)
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """A probe every few seconds is no news."""

        return Handler
