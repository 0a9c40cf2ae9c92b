"""The port over real HTTP, against a server that plays the API server's part and keeps what it was asked."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hunyuan_operator.api import names
from hunyuan_operator.api.reasons import EventReason, Reason
from hunyuan_operator.cluster.answers import NotFound
from hunyuan_operator.cluster.client import ApiClient, Credentials
from hunyuan_operator.cluster.events import Recorder, cut
from hunyuan_operator.cluster.kube import KubeCluster, runtime_session
from hunyuan_operator.cluster.lease import Lease
from hunyuan_operator.cluster.port import Event, Key
from hunyuan_operator.errors import Conflict, NotServed, Refused, Unavailable

TINY = Key("HunyuanDeployment", "demo", "tiny")


@dataclass(frozen=True, kw_only=True)
class Seen:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str] = field(repr=False)


@dataclass
class Server:
    """Answers in order; the last answer again and again. An answer is a code and a body, text if it is no mapping."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        self.seen.append(
            Seen(
                method=request.method,
                path=request.path,
                query=dict(request.query),
                body=body,
                headers=dict(request.headers),
            )
        )
        code, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            return web.Response(status=code, text=answer)
        return web.json_response(answer, status=code)


@dataclass
class Bench:
    server: Server
    cluster: KubeCluster
    client: ApiClient
    counted: list[tuple[str, int]]
    tokens: list[str]
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seconds: float = 0.0


@asynccontextmanager
async def bench(*answers: tuple[int, Any]) -> AsyncIterator[Bench]:
    server = Server(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as http, runtime_session() as runtime:
        tokens, counted = ["first"], list[tuple[str, int]]()
        made: Bench

        def login() -> Credentials:
            headers = {"Authorization": f"Bearer {tokens[-1]}"}
            return Credentials(server=str(http.make_url("")), headers=headers, tls=ssl.create_default_context())

        client = ApiClient(login, lambda: made.seconds, lambda method, code: counted.append((method, code)))
        async with client:
            cluster = KubeCluster(client, runtime, Recorder(client, "op-1"), lambda: made.now)
            made = Bench(server, cluster, client, counted, tokens)
            yield made


def manifest(kind: str, name: str, version: int = 1, **extra: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "demo",
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "labels": {"hunyuan.dev/deployment": "tiny"},
        **extra,
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}


def deployment(version: int = 1) -> dict[str, Any]:
    return {**manifest("HunyuanDeployment", "tiny", version), "apiVersion": "hunyuan.dev/v1alpha1"}


def children(cluster: KubeCluster) -> list[str]:
    return sorted(child["metadata"]["name"] for child in cluster.children(TINY))


async def test_apply_is_forced_and_bears_the_field_manager() -> None:
    service = manifest("Service", "tiny")
    async with bench((200, service)) as b:
        await b.cluster.apply(service)
    (seen,) = b.server.seen
    assert (seen.method, seen.path) == ("PATCH", "/api/v1/namespaces/demo/services/tiny")
    assert seen.query == {"fieldManager": "hunyuan-operator", "force": "true"}
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert seen.headers["Authorization"] == "Bearer first"
    assert seen.body == service


async def test_what_was_written_is_seen_before_the_watch_tells_it() -> None:
    async with bench((201, manifest("Pod", "p"))) as b:
        await b.cluster.create(manifest("Pod", "p"))
        assert children(b.cluster) == ["p"]
    assert (b.server.seen[0].method, b.server.seen[0].path) == ("POST", "/api/v1/namespaces/demo/pods")


async def test_a_secret_that_was_created_is_kept_nowhere() -> None:
    async with bench((201, manifest("Secret", "token"))) as b:
        await b.cluster.create(manifest("Secret", "token"))
        assert children(b.cluster) == []


async def test_status_is_bound_to_the_resource_that_was_read() -> None:
    async with bench((200, deployment(7))) as b:
        after = await b.cluster.patch_status(deployment(), {"groups": 1})
        assert after["metadata"]["resourceVersion"] == "7"
        seen = b.cluster.resource(TINY)
        assert seen is not None
        assert seen["metadata"]["resourceVersion"] == "7"
    (request,) = b.server.seen
    assert request.path == "/apis/hunyuan.dev/v1alpha1/namespaces/demo/hunyuandeployments/tiny/status"
    assert request.body == {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanDeployment",
        "metadata": {"namespace": "demo", "name": "tiny", "uid": "uid-tiny", "resourceVersion": "1"},
        "status": {"groups": 1},
    }


async def test_the_status_of_a_fine_tune_goes_to_the_fine_tune() -> None:
    car = {**manifest("HunyuanFineTune", "car"), "apiVersion": "hunyuan.dev/v1alpha1"}
    async with bench((200, car)) as b:
        await b.cluster.patch_status(car, {"stage": "train"})
    (request,) = b.server.seen
    assert request.path == "/apis/hunyuan.dev/v1alpha1/namespaces/demo/hunyuanfinetunes/car/status"
    assert request.body["kind"] == "HunyuanFineTune"


async def test_a_jobs_pods_go_with_it() -> None:
    job = {**manifest("Job", "car-train-1"), "apiVersion": "batch/v1"}
    async with bench((201, job), (200, {"kind": "Status", "status": "Success"})) as b:
        await b.cluster.create(job)
        await b.cluster.delete(job)
        assert children(b.cluster) == []
    created, deleted = b.server.seen
    assert created.path == "/apis/batch/v1/namespaces/demo/jobs"
    assert deleted.path == "/apis/batch/v1/namespaces/demo/jobs/car-train-1"
    assert deleted.body["propagationPolicy"] == "Background"


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        pytest.param((200, {"kind": "Status", "status": "Success"}), [], id="gone at once"),
        pytest.param((200, manifest("Pod", "p", 2, deletionTimestamp="2026-01-01T00:00:30Z")), ["p"], id="terminating"),
        pytest.param((404, {"message": "not found"}), [], id="gone already"),
        pytest.param((409, {"message": "the UID in the precondition"}), [], id="another bears the name"),
    ],
)
async def test_delete_means_this_very_object(answer: tuple[int, Any], left: list[str]) -> None:
    async with bench(answer) as b:
        b.cluster.cache.put(manifest("Pod", "p"))
        await b.cluster.delete(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "demo", "name": "p", "uid": "uid-p"}}
        )
        assert children(b.cluster) == left
    assert b.server.seen[0].body["preconditions"] == {"uid": "uid-p"}


async def test_a_delete_can_shorten_the_grace() -> None:
    async with bench((404, {"message": "not found"})) as b:
        metadata = {"namespace": "demo", "name": "p", "uid": "uid-p", "deletionGracePeriodSeconds": 30}
        await b.cluster.delete({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    assert b.server.seen[0].body["gracePeriodSeconds"] == 30


async def test_a_delete_that_failed_raises() -> None:
    async with bench((503, "busy")) as b:
        with pytest.raises(Unavailable):
            await b.cluster.delete(manifest("Pod", "p"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((409, {"message": 'pods "p" already exists'}), Conflict),
        ((403, {"message": 'pods "p" is forbidden: exceeded quota: q'}), Refused),
        ((429, {"message": "slow down"}), Unavailable),
    ],
)
async def test_a_create_raises_what_the_answer_means(answer: tuple[int, Any], error: type[Exception]) -> None:
    async with bench(answer) as b:
        with pytest.raises(error) as raised:
            await b.cluster.create(manifest("Pod", "p"))
    if isinstance(raised.value, Refused):
        assert raised.value.reason is Reason.QUOTA_EXCEEDED
    assert b.counted == [("POST", answer[0])]


async def test_no_answer_is_counted_and_unavailable() -> None:
    async with bench((200, {})) as b:
        await b.client.__aexit__(None, None, None)
        async with ApiClient(_nowhere, lambda: 0.0, lambda *call: b.counted.append(call)) as client:
            cluster = KubeCluster(client, aiohttp.ClientSession(), Recorder(client, "op"), lambda: b.now)
            with pytest.raises(Unavailable, match="POST /api/v1/namespaces/demo/pods"):
                await cluster.create(manifest("Pod", "p"))
            await cluster._runtime.close()
    assert b.counted == [("POST", 0)]


def _nowhere() -> Credentials:
    return Credentials(server="http://127.0.0.1:9", headers={}, tls=ssl.create_default_context())


async def test_a_refused_token_is_read_again_once() -> None:
    async with bench((401, {"message": "Unauthorized"}), (201, manifest("Pod", "p"))) as b:
        b.tokens.append("second")
        await b.cluster.create(manifest("Pod", "p"))
        assert [seen.headers["Authorization"] for seen in b.server.seen] == ["Bearer second", "Bearer second"]


async def test_credentials_are_read_again_every_minute() -> None:
    async with bench((201, manifest("Pod", "p"))) as b:
        for b.seconds, token in ((0, "a"), (59, "b"), (61, "c")):
            b.tokens.append(token)
            await b.cluster.create(manifest("Pod", "p"))
    assert [seen.headers["Authorization"][-1] for seen in b.server.seen] == ["a", "a", "c"]


async def test_a_secret_is_asked_for_by_name_and_without_its_data() -> None:
    async with bench((200, {"kind": "PartialObjectMetadata"})) as b:
        b.cluster.cache.put(deployment())
        assert await b.cluster.has_secret(TINY, "token")
        assert await b.cluster.has_secret(TINY, "token"), "the second time from memory"
    (seen,) = b.server.seen
    assert seen.path == "/api/v1/namespaces/demo/secrets/token"
    assert seen.headers["Accept"] == "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


async def test_a_secret_that_is_not_there_is_asked_for_again() -> None:
    async with bench((404, {"message": "not found"})) as b:
        assert not await b.cluster.has_secret(TINY, "token")
        assert not await b.cluster.has_secret(TINY, "token")
    assert len(b.server.seen) == 2


def listing(version: int, *items: dict[str, Any], following: str = "") -> tuple[int, Any]:
    for item in items:  # as the API server lists them
        del item["kind"], item["apiVersion"]
    return 200, {"metadata": {"resourceVersion": str(version), "continue": following}, "items": list(items)}


async def test_a_sync_reads_every_page_and_drops_what_is_gone() -> None:
    pages = [
        listing(10, deployment(5)),
        listing(10),
        listing(11, manifest("Pod", "p1", 6), following="more"),
        listing(11, manifest("Pod", "p2", 7)),
        listing(12),
    ]
    async with bench(*pages) as b:
        b.cluster.cache.put(manifest("Pod", "ghost", 3))
        assert await b.cluster.sync(()) == {TINY}
        assert children(b.cluster) == ["p1", "p2"]
        assert {child["kind"] for child in b.cluster.children(TINY)} == {"Pod"}
        assert b.cluster.resource(TINY) is not None
    assert [seen.query.get("continue") for seen in b.server.seen[:5]] == [None, None, None, "more", None]
    assert [seen.path for seen in b.server.seen[:3]] == [
        "/apis/hunyuan.dev/v1alpha1/hunyuandeployments",
        "/apis/hunyuan.dev/v1alpha1/hunyuanfinetunes",
        "/api/v1/pods",
    ]
    selectors = [seen.query["labelSelector"] for seen in b.server.seen]
    assert selectors == ["", "", *["app.kubernetes.io/managed-by=hunyuan-operator"] * 7]


async def test_a_sync_that_finds_a_fine_tune_changed_names_the_deployments_of_it() -> None:
    car = {**manifest("HunyuanFineTune", "car", 7), "apiVersion": "hunyuan.dev/v1alpha1"}
    follower = {**deployment(5), "spec": {"model": {"fineTune": {"name": "car"}}}}
    async with bench(listing(10), listing(10, car), listing(10)) as b:
        b.cluster.cache.put({**follower, "metadata": {**follower["metadata"], "resourceVersion": "11"}})
        assert await b.cluster.sync(()) == {Key("HunyuanFineTune", "demo", "car"), TINY}


async def test_a_sync_of_some_namespaces_asks_no_others() -> None:
    async with bench(listing(10)) as b:
        await b.cluster.sync(("a", "b"))
    assert [seen.path for seen in b.server.seen[4:6]] == ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods"]


async def test_an_event_is_written_once_and_its_repeats_are_counted() -> None:
    event = Event(reason=EventReason.ATTEMPT_FAILED, note="group 0", type="Warning")
    async with bench((201, {})) as b:
        for _ in range(3):
            await b.cluster.emit(deployment(), event)
            b.now += timedelta(minutes=5)
        b.now += timedelta(minutes=10)
        await b.cluster.emit(deployment(), event)
    assert [seen.method for seen in b.server.seen] == ["POST", "PATCH", "PATCH", "POST"]
    first, _, third, _ = b.server.seen
    assert first.path == "/apis/events.k8s.io/v1/namespaces/demo/events"
    assert first.body["regarding"]["uid"] == "uid-tiny"
    assert (first.body["reason"], first.body["type"], first.body["note"]) == ("AttemptFailed", "Warning", "group 0")
    assert first.body["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert third.path.endswith(first.body["metadata"]["name"])
    assert third.body == {"series": {"count": 3, "lastObservedTime": "2026-01-01T00:10:00.000000Z"}}


async def test_a_repeat_of_an_event_that_is_gone_is_written_anew() -> None:
    event = Event(reason=EventReason.SCALED, note="1 to 2")
    async with bench((201, {}), (404, {"message": "not found"}), (201, {})) as b:
        await b.cluster.emit(deployment(), event)
        await b.cluster.emit(deployment(), event)
    assert [seen.method for seen in b.server.seen] == ["POST", "PATCH", "POST"]


async def test_an_event_that_can_not_be_written_is_counted_only() -> None:
    async with bench((403, {"message": "no"})) as b:
        await b.cluster.emit(deployment(), Event(reason=EventReason.SCALED, note=""))
    assert b.counted == [("POST", 403)]


def test_a_note_is_cut_at_1024_bytes_between_characters() -> None:
    assert cut("a" * 1024) == "a" * 1024
    assert cut("洋" * 400) == "洋" * 340 + "…"
    assert len(cut("洋" * 400).encode()) <= 1024


async def test_the_tail_of_a_log() -> None:
    async with bench((200, "last words 洋\n")) as b:
        assert await b.cluster.log_tail(manifest("Pod", "p"), "runtime", 20) == "last words 洋\n"
    (seen,) = b.server.seen
    assert seen.path == "/api/v1/namespaces/demo/pods/p/log"
    assert seen.query == {"container": "runtime", "tailLines": "20", "limitBytes": "65536"}


@pytest.mark.parametrize("code", [400, 404, 500])
async def test_a_log_that_is_gone_is_empty(code: int) -> None:
    async with bench((code, {"message": "node is gone"})) as b:
        assert await b.cluster.log_tail(manifest("Pod", "p"), "runtime", 20) == ""


async def test_the_lease_is_created_then_replaced_at_its_version() -> None:
    async with bench((404, {"message": "no"}), (201, {"a": 1}), (409, {"message": "modified"})) as b:
        lease = Lease(b.client, "hunyuan-system", "hunyuan-operator", 5.0)
        assert await lease.read() is None
        await lease.write({"holderIdentity": "op-1"}, "")
        with pytest.raises(Conflict):
            await lease.write({"holderIdentity": "op-1"}, "5")
    _, created, replaced = b.server.seen
    root = "/apis/coordination.k8s.io/v1/namespaces/hunyuan-system/leases"
    assert (created.method, created.path) == ("POST", root)
    assert "resourceVersion" not in created.body["metadata"]
    assert (replaced.method, replaced.path) == ("PUT", f"{root}/hunyuan-operator")
    assert replaced.body["metadata"]["resourceVersion"] == "5"


GANG: dict[str, Any] = {
    "apiVersion": "scheduling.volcano.sh/v1beta1",
    "kind": "PodGroup",
    "metadata": {"name": "tiny-g0-1", "namespace": "demo", "uid": "uid-gang"},
}
UNKNOWN = "404 page not found\n"
ABSENT = {"kind": "Status", "reason": "NotFound", "message": "not found", "details": {"name": "tiny-g0-1"}}


UNKNOWN_VERSION = {"kind": "Status", "reason": "NotFound", "message": "could not find it", "details": {}}
"""What is answered where the group has other versions; seen of Kubernetes 1.37."""


@pytest.mark.parametrize("unknown", [UNKNOWN, UNKNOWN_VERSION], ids=["group", "version"])
async def test_a_kind_that_is_not_installed_is_told_apart_from_an_object_that_is_not_there(unknown: Any) -> None:
    async with bench((404, unknown), (404, ABSENT), (404, unknown), (404, ABSENT)) as b:
        with pytest.raises(NotServed, match=r"PodGroup of scheduling\.volcano\.sh/v1beta1"):
            await b.cluster.create(GANG)
        with pytest.raises(NotFound):
            await b.cluster.create(GANG)
        assert await b.cluster.find(GANG) is None
        assert await b.cluster.find(GANG) is None
    path = "/apis/scheduling.volcano.sh/v1beta1/namespaces/demo/podgroups"
    assert [seen.path for seen in b.server.seen] == [path, path, f"{path}/tiny-g0-1", f"{path}/tiny-g0-1"]


async def test_a_gang_that_is_being_deleted_is_no_child() -> None:
    metadata = {**GANG["metadata"], "resourceVersion": "7", "deletionTimestamp": "2026-11-24T12:00:00Z"}
    labels = {"labels": {names.DEPLOYMENT: TINY.name}}
    async with bench((200, {**GANG, "metadata": {**metadata, **labels}})) as b:
        await b.cluster.delete(GANG)
        assert children(b.cluster) == []
