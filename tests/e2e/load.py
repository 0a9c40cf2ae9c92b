"""Streams answers over HTTP for a while and counts what became of each: run in a client pod, so standard library only.

``python load.py HOST MODEL STREAMS SECONDS TOKENS`` prints JSON. A request is *accepted* when its answer's headers have
come; it is *lost* when the answer then ends before its last line. One that was never accepted is *refused*.
Half of the streams keep their connections, as OpenAI's client does: an idle connection that the server has closed
before a new request is opened anew and is no loss.
"""

import http.client
import json
import sys
import threading
import time

PAUSE = 0.5
"""Seconds that a client waits after a refusal, as any does."""


class Stream(threading.Thread):
    def __init__(self, host: str, body: bytes, until: float, *, keeps: bool) -> None:
        super().__init__()
        self.host, self.body, self.until, self.keeps = host, body, until, keeps
        self.completed = 0
        self.lost: list[str] = []
        self.refused: list[str] = []
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while time.time() < self.until:
            self.ask()

    def ask(self) -> None:
        reused = self.connection is not None
        connection = self.connection or http.client.HTTPConnection(self.host, 8000, timeout=120)
        self.connection = None
        try:
            connection.request("POST", "/v1/completions", self.body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            if not (reused and isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError))):
                self.refused.append(repr(error))
                time.sleep(PAUSE)
            return
        try:
            whole = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            return
        if answer.status != http.client.OK:
            self.refused.append(f"HTTP {answer.status}: {whole[:200]!r}")
        elif not whole.rstrip().endswith(b"data: [DONE]"):
            self.lost.append(f"ended with {whole[-200:]!r}")
        else:
            self.completed += 1
            self.connection = connection if self.keeps and not answer.will_close else None


def main(host: str, model: str, streams: int, seconds: float, tokens: int) -> None:
    body = {"model": model, "prompt": "1", "stream": True, "ignore_eos": True, "max_tokens": tokens, "temperature": 0}
    until = time.time() + seconds
    threads = [Stream(host, json.dumps(body).encode(), until, keeps=bool(n % 2)) for n in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {
        "completed": sum(thread.completed for thread in threads),
        "lost": [each for thread in threads for each in thread.lost],
        "refused": [each for thread in threads for each in thread.refused],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
