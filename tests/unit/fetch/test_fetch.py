"""A model from a hub into a volume, against a small hub that fails to order (tests/hub_server.py)."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hunyuan_runtime.config import HubSource, RuntimeStatus, ServeConfig
from hunyuan_runtime.fetch.hub import Hub
from hunyuan_runtime.fetch.snapshot import SnapshotFetcher
from hunyuan_runtime.fetch.waits import Patience
from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from tests.hub_server import COMMIT, Fault, HubServer

REPO = "tencent/Large"
SHARD = bytes(range(256)) * 20
MODEL = {
    "config.json": b'{"model_type": "hunyuan"}',
    "generation_config.json": b"{}",
    "hy.tiktoken": b"IQ== 0\n" * 200,
    "model-00001-of-00002.safetensors": SHARD,
    "model-00002-of-00002.safetensors": SHARD[::-1],
    "model.safetensors.index.json": b"{}",
}
OTHERS = {
    "README.md": b"#",
    "modeling_hunyuan.py": b"raise SystemExit",
    "pytorch_model.bin": SHARD,
    "optimizer.pt": SHARD,
    "nested/config.json": b"{}",
}
FOLDER = "Instruct"
FILES = {f"{FOLDER}/{name}": content for name, content in (MODEL | OTHERS).items()} | {"README.md": b"#"}
FIRST, SECOND = sorted(name for name in MODEL if name.endswith(".safetensors"))


def at(name: str) -> str:
    """Where a large file's bytes come from."""
    return f"/elsewhere/{REPO}/{FOLDER}/{name}"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(repos={REPO: FILES}) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetcher(hub: HubServer, cache: Path, token: str = "", holder: str = "pod-0", **changes: Any) -> SnapshotFetcher:
    fields = {"endpoint": hub.endpoint, "repo": REPO, "revision": "v1", "folder": FOLDER, "cache": str(cache)}
    source = HubSource(**(fields | changes))
    return SnapshotFetcher(
        source=source,
        hub=Hub(source, token, timeout=5),
        holder=holder,
        report=lambda done, total: None,
        patience=Patience(first=0.02, longest=0.1, give_up=2),
        beat=0.05,
    )


def assert_whole(snapshot: Path) -> None:
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == MODEL


def test_the_models_files_arrive_and_nothing_else_does(hub: HubServer, cache: Path) -> None:
    snapshot = fetcher(hub, cache).run()
    assert snapshot == cache / "tencent--Large--Instruct/v1"
    assert_whole(snapshot)
    assert sum(hub.sent.values()) == sum(map(len, MODEL.values()))


def test_a_model_at_the_root_of_its_repository(cache: Path) -> None:
    with HubServer(repos={REPO: MODEL}) as hub:
        snapshot = fetcher(hub, cache, folder="", revision=COMMIT).run()
    assert snapshot == cache / "tencent--Large" / COMMIT
    assert_whole(snapshot)


def test_a_folder_and_the_root_of_one_repository_are_two_snapshots(cache: Path) -> None:
    with HubServer(repos={REPO: FILES | MODEL}) as hub:
        snapshots = [fetcher(hub, cache, folder=folder).run() for folder in (FOLDER, "", FOLDER)]
    assert snapshots[0] == snapshots[2] != snapshots[1]
    for snapshot in snapshots:
        assert_whole(snapshot)


def test_archives_come_where_there_are_no_safetensors(cache: Path) -> None:
    files = {"config.json": b"{}", "pytorch_model-1-of-1.bin": SHARD, "training_args.bin": SHARD}
    with HubServer(repos={REPO: files}) as hub:
        snapshot = fetcher(hub, cache, folder="").run()
    assert {path.name for path in snapshot.iterdir()} == {"config.json", "pytorch_model-1-of-1.bin"}


def test_a_snapshot_that_is_there_needs_no_hub(hub: HubServer, cache: Path) -> None:
    fetcher(hub, cache).run()
    hub.requests.clear()
    assert_whole(fetcher(hub, cache).run())
    assert hub.requests == []


def test_a_connection_that_is_cut_goes_on_where_it_ended(hub: HubServer, cache: Path) -> None:
    hub.faults[at(FIRST)] += [Fault(cut_after=2000), Fault(cut_after=0), Fault(cut_after=1000)]
    assert_whole(fetcher(hub, cache).run())
    assert hub.sent[f"{FOLDER}/{FIRST}"] == len(SHARD)


def test_the_next_process_goes_on_where_the_last_one_ended(hub: HubServer, cache: Path) -> None:
    hub.faults[at(FIRST)] += [Fault(cut_after=3072), Fault(status=403)]
    with pytest.raises(RuntimeFailure):
        fetcher(hub, cache).run()
    assert not (cache / "tencent--Large--Instruct").exists(), "a snapshot appears only when it is complete"
    for stream in threading.enumerate():
        if stream.name.startswith("fetch"):
            stream.join(10)
    there = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    assert there >= 3072
    hub.sent.clear()
    assert_whole(fetcher(hub, cache).run())
    assert sum(hub.sent.values()) == sum(map(len, MODEL.values())) - there


def test_a_hub_that_knows_no_ranges_sends_the_file_again(hub: HubServer, cache: Path) -> None:
    hub.ranges = False
    hub.faults[at(FIRST)] += [Fault(cut_after=2000)]
    assert_whole(fetcher(hub, cache).run())


@pytest.mark.parametrize("path", [f"/api/models/{REPO}/refs", f"/api/models/{REPO}/tree/{COMMIT}/{FOLDER}", at(FIRST)])
def test_a_busy_hub_is_asked_again_after_the_time_that_it_names(hub: HubServer, cache: Path, path: str) -> None:
    hub.faults[path] += [Fault(status=503), Fault(status=429, headers={"Retry-After": "1"})]
    began = time.monotonic()
    assert_whole(fetcher(hub, cache).run())
    assert time.monotonic() - began >= 1
    assert hub.requests.count(path) == 3


def test_a_hub_that_stays_busy_is_given_up(hub: HubServer, cache: Path) -> None:
    hub.faults[at(FIRST)] += [Fault(status=429, headers={"Retry-After": "100"})]
    assert failure(fetcher(hub, cache)) == (Cause.FetchFailed, "answers 429")


def test_a_hub_that_is_not_there_is_given_up(cache: Path) -> None:
    with HubServer(repos={}) as hub:
        gone = fetcher(hub, cache)
    assert failure(gone) == (Cause.FetchFailed, "Connection refused")


def failure(of: SnapshotFetcher) -> tuple[Cause, str]:
    """Cause, and a part of the message: compares equal to any part."""
    with pytest.raises(RuntimeFailure) as failed:
        of.run()

    class Part(str):
        __slots__ = ()

        def __eq__(self, part: object) -> bool:
            return str(part) in str(self)

        __hash__ = str.__hash__

    return failed.value.cause, Part(str(failed.value))


def test_a_damaged_file_is_fetched_again(hub: HubServer, cache: Path) -> None:
    hub.faults[at(FIRST)] += [Fault(flip=True)]
    hub.faults[f"/{REPO}/resolve/{COMMIT}/{FOLDER}/config.json"] += [Fault(flip=True)]
    assert_whole(fetcher(hub, cache).run())


def test_a_file_that_is_always_damaged_is_named(hub: HubServer, cache: Path) -> None:
    hub.faults[at(FIRST)] += [Fault(flip=True)] * 3
    assert failure(fetcher(hub, cache)) == (Cause.FetchFailed, f"{FOLDER}/{FIRST} doesn't have the digest")


def test_a_torn_beginning_on_the_volume_is_no_harm(hub: HubServer, cache: Path) -> None:
    parts = cache / ".fetch/tencent--Large--Instruct--v1.parts"
    parts.mkdir(parents=True)
    (parts / FIRST).write_bytes(bytes(999))
    (parts / SECOND).write_bytes(bytes(len(SHARD) + 1))
    assert_whole(fetcher(hub, cache).run())


@pytest.mark.parametrize(
    ("changes", "cause", "message"),
    [
        ({"repo": "tencent/None"}, Cause.ModelNotFound, "answers 404 for tencent/None@v1: Repository not found"),
        ({"revision": "v9"}, Cause.ModelNotFound, "answers 404 for tencent/Large@v9: Invalid rev id"),
        ({"revision": "9" * 40}, Cause.ModelNotFound, "Invalid rev id"),
        ({"revision": "main"}, Cause.ModelNotFound, "is a branch and moves: name a tag or a commit"),
        ({"folder": "Pretrain"}, Cause.ModelNotFound, "folder Pretrain of tencent/Large@v1 holds no model"),
        ({"folder": ""}, Cause.ModelNotFound, "the root of tencent/Large@v1 holds no model"),
    ],
)
def test_what_is_not_there_is_named_at_once(
    hub: HubServer, cache: Path, changes: dict[str, str], cause: Cause, message: str
) -> None:
    assert failure(fetcher(hub, cache, **changes)) == (cause, message)
    assert not cause.retryable


@pytest.mark.parametrize(
    ("token", "message"), [("", "no token is given"), ("wrong", "the token is not accepted")], ids=["none", "wrong"]
)
def test_a_hub_that_refuses_is_not_asked_again(hub: HubServer, cache: Path, token: str, message: str) -> None:
    hub.token = "right"
    assert failure(fetcher(hub, cache, token)) == (Cause.ModelAccessDenied, message)
    assert not Cause.ModelAccessDenied.retryable
    assert len(hub.requests) == 1


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: HubServer, cache: Path) -> None:
    hub.token = "right"
    assert_whole(fetcher(hub, cache, "right").run())
    assert any(request.startswith("/elsewhere/") for request in hub.requests)
    assert hub.tokens_elsewhere == []


def test_a_volume_without_room_is_told_before_anything_is_fetched(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=100)

    monkeypatch.setattr("shutil.disk_usage", full)
    assert failure(fetcher(hub, cache)) == (Cause.FetchFailed, "the cache volume has 0.0 GB free")
    assert not hub.sent


def test_a_volume_that_cannot_be_written_is_the_cause(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert failure(fetcher(hub, tmp_path / "file")) == (Cause.FetchFailed, "the cache volume fails")


def test_of_several_pods_one_fetches_and_the_others_wait_and_tell_its_progress(hub: HubServer, cache: Path) -> None:
    hub.pace = 0.1
    pods = [fetcher(hub, cache, holder=f"pod-{number}") for number in range(3)]
    told: list[list[tuple[int, int]]] = [[] for _ in pods]
    for pod, figures in zip(pods, told, strict=True):
        pod.report = reporter(figures)
    threads = [threading.Thread(target=pod.run) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert_whole(cache / "tencent--Large--Instruct/v1")
    size = sum(map(len, MODEL.values()))
    assert sum(hub.sent.values()) == size
    assert {total for figures in told for _, total in figures} == {size}
    assert all(len(figures) > 1 for figures in told)


def reporter(figures: list[tuple[int, int]]) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        figures.append((done, total))

    return report


def test_as_a_program_it_tells_its_progress_and_ends_by_code_and_message(hub: HubServer, tmp_path: Path) -> None:
    hub.token, hub.pace = "right", 1
    program = Program(tmp_path, hub)
    process = program.start()
    deadline = time.monotonic() + 20
    while (status := program.status()) is None or status.progress is None or not status.progress.done_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status.phase == "Fetching"
    assert 0 < status.progress.done_bytes < status.progress.total_bytes == sum(map(len, MODEL.values()))
    process.terminate()
    assert process.wait(10) == 143
    hub.pace = 0
    assert program.start().wait(20) == 0
    assert_whole(tmp_path / "cache/tencent--Large--Instruct/v1")
    hub.token = "other"
    program.write(revision=COMMIT)
    hub.requests.clear()
    assert program.start().wait(20) == Cause.ModelAccessDenied.exit_code
    message = TerminationMessage.parse((tmp_path / "end").read_text())
    assert message is not None
    assert (message.reason, message.retryable) == ("ModelAccessDenied", False)
    assert "right" not in (tmp_path / "log").read_text()


class Program:
    """``python -m hunyuan_runtime.fetch`` in a folder of its own."""

    def __init__(self, folder: Path, hub: HubServer) -> None:
        self.folder, self.hub, self.port = folder, hub, free_port()
        (folder / "token").write_text("right\n")
        self.write()

    def write(self, **changes: str) -> None:
        fields = {"endpoint": self.hub.endpoint, "repo": REPO, "revision": "v1", "folder": FOLDER}
        source = HubSource(cache=str(self.folder / "cache"), **(fields | changes))
        config = ServeConfig(
            model_path=str(source.snapshot),
            hub=source,
            served_name="x",
            max_model_len=512,
            nodes=1,
            gpus_per_node=1,
            tensor_parallel=1,
            pipeline_parallel=1,
            max_num_seqs=1,
            gpu_memory_utilization=0.9,
        )
        (self.folder / "config").write_text(config.model_dump_json())

    def start(self) -> subprocess.Popen[bytes]:
        files = {"config": "config", "token": "token", "termination-log": "end"}
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "hunyuan_runtime.fetch", *options, f"--port={self.port}"]
            return subprocess.Popen(command, stdout=log, stderr=log)

    def status(self) -> RuntimeStatus | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=2) as answer:
                return RuntimeStatus.model_validate(json.load(answer))
        except OSError:
            return None


def free_port() -> int:
    with HubServer(repos={}) as server:
        return server.port
