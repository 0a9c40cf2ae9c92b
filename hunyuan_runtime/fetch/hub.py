"""A hub as HTTP: which commit a revision is, what a folder of it holds, and a file's bytes from any offset on.

A request either answers, or raises RuntimeFailure when asking again can't help, or :class:`Again` when it can.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from hunyuan_runtime.config import HubSource
from hunyuan_runtime.termination import Cause, RuntimeFailure

TIMEOUT = 30
"""Seconds without a byte after which a connection is given up."""
_TRANSIENT = {408, 425, 429}
_COMMIT = re.compile("[0-9a-f]{40}")
_NEXT_PAGE = re.compile(r'<([^>]+)>;\s*rel="next"')


class Again(Exception):
    """It may work later; ``after`` is the wait in seconds that the server asks for, 0 if it asks for none."""

    def __init__(self, message: str, after: float = 0) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """``digest`` is the sha256 of a large file, and git's sha1 of a small one."""

    path: str
    size: int
    digest: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The token stays with the hub: large files are elsewhere, behind addresses that are signed."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and _origin(newurl) != _origin(req.full_url):
            new.remove_header("Authorization")
        return new


class Hub:
    def __init__(self, source: HubSource, token: str = "", timeout: float = TIMEOUT) -> None:
        self._source = source
        self._headers = {"User-Agent": "hunyuan-operator"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_Redirects)

    def commit(self) -> str:
        """The commit that the revision names; a branch is refused: ranks and restarts could get different ones."""
        source = self._source
        if _COMMIT.fullmatch(source.revision):
            return source.revision
        refs, _ = self._json(f"{source.endpoint}/api/models/{source.repo}/refs")
        if source.revision in {branch["name"] for branch in refs["branches"]}:
            raise RuntimeFailure(
                Cause.ModelNotFound, f"{source.revision} of {source.repo} is a branch and moves: name a tag or a commit"
            )
        info, _ = self._json(f"{source.endpoint}/api/models/{source.repo}/revision/{_quote(source.revision)}")
        return str(info["sha"])

    def files(self, commit: str) -> list[RemoteFile]:
        """What lies directly in the source's folder."""
        source = self._source
        url = f"{source.endpoint}/api/models/{source.repo}/tree/{commit}"
        url += f"/{urllib.parse.quote(source.folder)}" if source.folder else ""
        found = []
        while url:
            page, url = self._json(url)
            found += [_file(entry) for entry in page if entry["type"] == "file"]
        return found

    def open(self, file: RemoteFile, commit: str, offset: int) -> HTTPResponse:
        """The file's bytes from ``offset`` on, or from its beginning: status 206 or 200."""
        source = self._source
        url = f"{source.endpoint}/{source.repo}/resolve/{commit}/{urllib.parse.quote(file.path)}"
        return self._get(url, {"Range": f"bytes={offset}-"} if offset else {})

    def _json(self, url: str) -> tuple[Any, str]:
        """An answer, and the address of its next page."""
        try:
            with self._get(url, {}) as answer:
                page = _NEXT_PAGE.search(answer.headers.get("Link") or "")
                return json.load(answer), page[1] if page else ""
        except (OSError, HTTPException, ValueError) as error:
            raise Again(f"{url}: {error}") from error

    def _get(self, url: str, headers: dict[str, str]) -> HTTPResponse:
        request = urllib.request.Request(url, headers=self._headers | headers)  # noqa: S310 - the spec's own endpoint
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, HTTPException) as error:
            raise Again(f"{url}: {getattr(error, 'reason', error)}") from error
        return answer

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What an answer of 400 and above means. Hubs say 401 for repositories that nobody may know of, too."""
        what = f"{self._source.repo}@{self._source.revision}"
        said = error.headers.get("X-Error-Message") or error.reason
        told = f"{self._source.endpoint} answers {error.code} for {what}: {said}"
        if error.code in _TRANSIENT or error.code >= 500:
            after = error.headers.get("Retry-After") or ""
            return Again(told, float(after) if after.isdecimal() else 0)
        if error.code in (401, 403):
            with_token = "the token is not accepted" if "Authorization" in self._headers else "no token is given"
            return RuntimeFailure(
                Cause.ModelAccessDenied, f"{told}; {with_token}, or the repository is private, gated or doesn't exist"
            )
        if error.code == 404:
            return RuntimeFailure(Cause.ModelNotFound, told)
        return RuntimeFailure(Cause.FetchFailed, told)


def _file(entry: dict[str, Any]) -> RemoteFile:
    lfs = entry.get("lfs") or {}
    return RemoteFile(path=str(entry["path"]), size=int(entry["size"]), digest=str(lfs.get("oid") or entry["oid"]))


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc
