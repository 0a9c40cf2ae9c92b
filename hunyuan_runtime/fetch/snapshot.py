"""Fetch a snapshot: all of a model's files, each of the right digest, in a folder that appears when it is complete.

::

    <cache>/<name>/<revision>/               the snapshot; <name> is of repository and folder
    <cache>/.fetch/<name>--<revision>/       files that are complete, on their way to it
    <cache>/.fetch/<name>--<revision>.parts  the beginnings of the others, from where the next try goes on
    <cache>/.fetch/<name>--<revision>.lock   who fetches (:mod:`hunyuan_runtime.fetch.lock`)

A beginning may be another commit's if a tag has moved, or be torn: its digest tells when the file is whole, and it is
fetched anew.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hunyuan_runtime.config import HubSource
from hunyuan_runtime.fetch.file import FileFetcher, Tally
from hunyuan_runtime.fetch.hub import Again, Hub, RemoteFile
from hunyuan_runtime.fetch.lock import BEAT, Lock, LockLost
from hunyuan_runtime.fetch.selection import select
from hunyuan_runtime.fetch.waits import Patience, Waits
from hunyuan_runtime.termination import Cause, RuntimeFailure

STREAMS = 4
"""Files at a time: one connection seldom fills the line, and digests are computed beside."""
Report = Callable[[int, int], None]
"""Told ``(done, total)`` bytes, also of what another fetcher does."""
T = TypeVar("T")


@dataclass(kw_only=True)
class SnapshotFetcher:
    source: HubSource
    hub: Hub
    holder: str
    report: Report
    patience: Patience = field(default_factory=Patience)
    beat: float = BEAT

    def run(self) -> Path:
        """The snapshot's folder, fetched by this process or by another.

        Raises:
            RuntimeFailure: ``ModelAccessDenied``, ``ModelNotFound``; ``FetchFailed`` when the hub or the volume fails.

        """
        target = Path(self.source.snapshot)
        try:
            if not target.exists():
                self._fetch(target)
        except OSError as error:
            raise RuntimeFailure(Cause.FetchFailed, f"the cache volume fails: {error}") from error
        return target

    def _fetch(self, target: Path) -> None:
        commit = self._patiently(self.hub.commit)
        files = select(self._patiently(lambda: self.hub.files(commit)))
        if not files:
            where = f"folder {self.source.folder}" if self.source.folder else "the root"
            raise RuntimeFailure(
                Cause.ModelNotFound, f"{where} of {self.source.repo}@{self.source.revision} holds no model"
            )
        work = Path(self.source.cache, ".fetch")
        work.mkdir(parents=True, exist_ok=True)
        name = f"{target.parent.name}--{target.name}"
        lock = Lock(path=work / f"{name}.lock", holder=self.holder)
        while not target.exists():
            if lock.take():
                try:
                    if not target.exists():  # it may have come between the last look and the lock
                        self._fetch_files(files, commit, work / name, target, lock)
                except LockLost:
                    continue
                finally:
                    lock.release()
            else:
                if told := lock.progress():
                    self.report(*told)
                time.sleep(self.beat)

    def _patiently(self, ask: Callable[[], T]) -> T:
        waits = Waits(self.patience)
        while True:
            try:
                return ask()
            except Again as error:
                time.sleep(waits.next(error))

    def _fetch_files(self, files: list[RemoteFile], commit: str, folder: Path, target: Path, lock: Lock) -> None:
        parts = folder.with_name(f"{folder.name}.parts")
        for made in (folder, parts):
            made.mkdir(exist_ok=True)
        tally = Tally(total=sum(file.size for file in files))
        fetcher = FileFetcher(hub=self.hub, commit=commit, folder=folder, parts=parts, tally=tally)
        _check_space(folder, tally.total - sum(fetcher.present(file) for file in files))
        with _streams(tally.stop) as pool:
            left: set[Future[None]] = {pool.submit(fetcher.fetch, file, self.patience) for file in files}
            while left:
                self.report(tally.done, tally.total)
                done, left = wait(left, self.beat, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                lock.beat(tally.done, tally.total)
        target.parent.mkdir(parents=True, exist_ok=True)
        _drop_others(folder, {file.name for file in files})
        folder.rename(target)
        shutil.rmtree(parts, ignore_errors=True)


@contextmanager
def _streams(stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """A pool that ends soon, not when all is done, when the body fails."""
    pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="fetch")
    try:
        yield pool
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)  # a silent connection may take half a minute to end


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RuntimeFailure(
            Cause.FetchFailed,
            f"the cache volume has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are still to be fetched",
        )


def _drop_others(folder: Path, names: set[str]) -> None:
    """Files of another commit, from before a tag moved."""
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
