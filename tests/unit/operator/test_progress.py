"""What status says of a model on its way into memory, and how seldom it is written."""

import pytest
from hunyuan_operator.api.deployment import GroupProgress
from hunyuan_operator.status.progress import in_words

from hunyuan_runtime.config import Phase, Progress
from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_cluster import FakeCluster, deployment

GB = 10**9


@pytest.mark.parametrize(
    ("done", "total", "left", "words"),
    [
        (12.34, 389.5, 4 * 60, "12.3 of 389.5 GB, about 4 min left"),
        (12.34, 389.5, 59, "12.3 of 389.5 GB, less than a minute left"),
        (12.34, 389.5, 3 * 3600, "12.3 of 389.5 GB, about 3 h left"),
        (0, 389.5, None, "0.0 of 389.5 GB"),
        (389.5, 389.5, 0, "all 389.5 GB"),
        (0.0012, 0.0034, None, "1.2 of 3.4 MB"),
    ],
)
def test_progress_in_words(done: float, total: float, left: int | None, words: str) -> None:
    finish = None if left is None else f"2026-11-24T{12 + left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}Z"
    progress = GroupProgress(
        done_bytes=int(done * GB), total_bytes=int(total * GB), estimated_finish=finish, time="2026-11-24T12:00:00Z"
    )
    assert in_words(progress) == words


def far(done: float, left: int | None = None) -> Progress:
    return Progress(done_bytes=int(done * GB), total_bytes=400 * GB, remaining_seconds=left)


async def loading(progress: Progress) -> FakeCluster:
    cluster = FakeCluster(subject=deployment())
    await cluster.settle()
    cluster.start_pods()
    cluster.tell(Phase.LOADING, joined=2, progress=progress)
    await cluster.settle()
    cluster.writes.clear()
    return cluster


async def test_a_loading_group_shows_bytes_and_the_time_of_the_end() -> None:
    cluster = await loading(far(100, left=300))
    [group] = cluster.subject["status"]["groupStatuses"]
    assert group["state"] == "Loading"
    assert group["progress"] == {
        "doneBytes": 100 * GB,
        "totalBytes": 400 * GB,
        "estimatedFinish": "2026-11-24T12:05:00Z",
        "time": "2026-11-24T12:00:00Z",
    }
    assert cluster.message("ModelLoaded") == "group 0: 100.0 of 400.0 GB, about 5 min left"


async def test_status_is_written_at_most_every_ten_seconds_while_it_loads() -> None:
    cluster = await loading(far(0))
    for second in range(60):
        cluster.tell(Phase.LOADING, joined=2, progress=far(5 * second, left=100 - second))
        await cluster.pass_once()
        cluster.advance(1)
    assert len(cluster.writes) == 5
    assert {write.split()[0] for write in cluster.writes} == {"status"}


async def test_figures_that_read_the_same_are_not_written() -> None:
    cluster = await loading(far(100))
    cluster.advance(60)
    cluster.tell(Phase.LOADING, joined=2, progress=far(100.01))
    await cluster.settle()
    assert cluster.writes == []


async def test_the_end_is_told_at_once() -> None:
    cluster = await loading(far(100))
    cluster.advance(1)
    cluster.tell(Phase.LOADING, joined=2, progress=far(400))
    await cluster.settle()
    assert cluster.message("ModelLoaded") == "group 0: all 400.0 GB"


async def test_a_group_that_serves_has_no_progress() -> None:
    cluster = await loading(far(100))
    cluster.make_ready()
    await cluster.settle()
    assert "progress" not in cluster.subject["status"]["groupStatuses"][0]


HUB = {"huggingFace": {"repo": "a/b", "revision": "v1", "cache": {"claimName": "models"}}}


async def fetching(progress: Progress | None) -> FakeCluster:
    model = deployment()["spec"]["model"] | HUB
    del model["pvc"]
    cluster = FakeCluster(subject=deployment(model=model))
    await cluster.settle()
    cluster.start_fetching()
    if progress:
        cluster.tell(Phase.FETCHING, progress=progress)
    await cluster.settle()
    cluster.writes.clear()
    return cluster


async def test_a_group_that_fetches_its_model_says_how_far_it_is() -> None:
    cluster = await fetching(far(100, left=3600))
    assert cluster.status.group_statuses[0].state == "Fetching"
    assert cluster.condition("ModelLoaded") == ("False", "ModelFetching")
    assert cluster.message("ModelLoaded") == "group 0: 100.0 of 400.0 GB, about 60 min left"
    assert cluster.condition("RayReady") == ("False", "NotStarted")


async def test_a_fetch_that_has_not_answered_yet_is_no_news() -> None:
    cluster = await fetching(None)
    assert cluster.status.group_statuses[0].state == "Fetching"
    assert cluster.message("ModelLoaded") == "group 0: begins to fetch"


async def test_an_answer_that_fails_to_come_changes_nothing() -> None:
    cluster = await fetching(far(100))
    cluster.runtime.clear()
    cluster.advance(60)
    await cluster.settle()
    assert cluster.writes == []


async def test_a_model_that_was_fetched_is_loaded_with_figures_of_its_own() -> None:
    cluster = await fetching(far(400))
    for pod in cluster.live_pods():
        del pod["status"]
    cluster.start_pods()
    cluster.tell(Phase.STARTING)
    await cluster.settle()
    assert cluster.status.group_statuses[0].progress is None
    cluster.tell(Phase.LOADING, joined=2, progress=far(3))
    await cluster.settle()
    assert cluster.message("ModelLoaded") == "group 0: 3.0 of 400.0 GB"


async def test_a_hub_that_refuses_stalls_the_group_with_the_runtimes_words() -> None:
    cluster = await fetching(None)
    cluster.end("tiny-g0-1-0", Cause.ModelAccessDenied, "the hub answers 401", container="fetch")
    await cluster.settle()
    cluster.let_go()
    await cluster.settle()
    assert cluster.condition("Stalled") == ("True", "ModelAccessDenied")
    failure = cluster.status.last_failure
    assert failure is not None
    assert (failure.container, failure.message) == ("fetch", "the hub answers 401")
    assert failure.log == "last words of tiny-g0-1-0/fetch\n"
