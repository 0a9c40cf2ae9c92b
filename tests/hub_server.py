"""A small hub for tests: the part of Hugging Face's HTTP that a download needs, with failures to order.

Large files are redirected to another host, as on the real one; what arrives there is recorded. As a program,
``python hub_server.py FOLDER PORT PACE`` has FOLDER as repository ``test/<its name>`` with the tag v1, and prints the
path of every request.
"""

import hashlib
import json
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Happens to one request for a path: an HTTP status instead of the answer, or an end after so many bytes."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = -1
    flip: bool = False
    """The first byte arrives damaged."""


@dataclass(kw_only=True)
class HubServer:
    repos: dict[str, dict[str, bytes]]
    """Files by path, by repository."""
    token: str = ""
    """What every request to the hub itself must bring, if set."""
    large: int = 1000
    ranges: bool = True
    pace: float = 0
    """Seconds between two KiB of a large file."""
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    """By the path of a request, without its query; each is used up by one request."""
    requests: list[str] = field(default_factory=list)
    log: bool = False
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes by file."""
    tokens_elsewhere: list[str] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    def __enter__(self) -> "HubServer":
        self._server = ThreadingHTTPServer((self.host, self.port), self._handler())
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *_: Any) -> None: ...

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.requests.append(path)
        if self.log:
            sys.stdout.write(f"{path}\n")  # in one piece: print() would write the line's end apart
            sys.stdout.flush()
        fault = self.faults[path].pop(0) if self.faults[path] else Fault()
        elsewhere = path.startswith("/elsewhere/")
        sent_token = request.headers.get("Authorization") or ""
        if elsewhere and sent_token:
            self.tokens_elsewhere.append(sent_token)
        if fault.status:
            reply(request, fault.status, b"", fault.headers)
        elif self.token and not elsewhere and sent_token != f"Bearer {self.token}":
            reply(request, 401, b"", {"X-Error-Message": "Invalid username or password."})
        elif elsewhere:
            self._send_file(request, path.removeprefix("/elsewhere/"), fault)
        else:
            self._answer_hub(request, path.strip("/").split("/"), fault)

    def _answer_hub(self, request: BaseHTTPRequestHandler, path: list[str], fault: Fault) -> None:
        match path:
            case ["api", "models", owner, name, *what]:
                self._answer_api(request, f"{owner}/{name}", what)
            case [owner, name, "resolve", revision, *parts] if f"{owner}/{name}" in self.repos and revision == COMMIT:
                file = f"{owner}/{name}/{'/'.join(parts)}"
                content = self.repos[f"{owner}/{name}"].get("/".join(parts))
                if content is not None and len(content) >= self.large:
                    host = (request.headers.get("Host") or "").replace("127.0.0.1", "localhost")
                    reply(request, 302, b"", {"Location": f"http://{host}/elsewhere/{file}?signature=x"})
                else:
                    self._send_file(request, file, fault)
            case _:
                reply(request, 404, b"", {"X-Error-Message": "Not found"})

    def _answer_api(self, request: BaseHTTPRequestHandler, repo: str, what: list[str]) -> None:
        files = self.repos.get(repo)
        match what:
            case _ if files is None:
                reply(request, 404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            case ["refs"]:
                refs = {"branches": [{"name": "main"}], "converts": [], "tags": [{"name": "v1"}]}
                reply(request, 200, json.dumps(refs).encode())
            case ["revision", "v1"]:
                reply(request, 200, json.dumps({"sha": COMMIT}).encode())
            case ["tree", revision, *folder] if revision == COMMIT:
                entries = tree(files, "/".join(folder), self.large)
                reply(request, 200, json.dumps(entries).encode())
            case _:
                reply(request, 404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})

    def _send_file(self, request: BaseHTTPRequestHandler, file: str, fault: Fault) -> None:
        owner, name, path = file.split("/", 2)
        content = self.repos[f"{owner}/{name}"].get(path)
        if content is None:
            reply(request, 404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            return
        asked = request.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        body = content[start:]
        if fault.flip:
            body = bytes([body[0] ^ 255]) + body[1:]
        request.send_response(206 if asked and self.ranges else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        body = body if fault.cut_after < 0 else body[: fault.cut_after]
        for at in range(0, len(body), 1024):
            request.wfile.write(body[at : at + 1024])
            self.sent[path] += len(body[at : at + 1024])
            if self.pace:
                threading.Event().wait(self.pace)
        request.close_connection = True


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def tree(files: dict[str, bytes], folder: str, large: int) -> list[dict[str, Any]]:
    """What lies directly in a folder, folders too."""
    inside = {path.removeprefix(f"{folder}/" if folder else ""): path for path in files if path.startswith(folder)}
    folders = {name.partition("/")[0] for name in inside if "/" in name}
    entries: list[dict[str, Any]] = [{"type": "directory", "path": name, "oid": "0", "size": 0} for name in folders]
    for path in (path for name, path in inside.items() if "/" not in name):
        content = files[path]
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git}
        if len(content) >= large:
            sha = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
        entries.append(entry)
    return entries


def serve(folder: Path, port: int, pace: float) -> None:
    """Until the process is ended."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with HubServer(repos={f"test/{folder.name}": files}, host="0.0.0.0", port=port, pace=pace, log=True):
        threading.Event().wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
