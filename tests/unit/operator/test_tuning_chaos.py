"""Whatever happens in whatever order, attempts of a fine-tune stay apart, and it ends well."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_api import rank_of
from tests.unit.operator.fake_training import FakeTraining, fine_tune

action = st.one_of(
    st.tuples(st.just("fail"), st.integers(0, 2), st.sampled_from([Cause.WorkerDied, Cause.RankLost, 143])),
    st.tuples(st.just("delete"), st.integers(0, 2)),
    st.tuples(st.just("delete job")),
    st.tuples(st.just("succeed")),
    st.tuples(st.just("change"), st.fixed_dictionaries({"nodes": st.integers(1, 3)})),
    st.tuples(st.just("change"), st.fixed_dictionaries({"suspend": st.booleans()})),
    st.tuples(st.just("advance"), st.integers(1, 400)),
    st.tuples(st.just("kubelets")),
    st.tuples(st.just("lose status")),
    st.tuples(st.just("pass")),
)


async def act(cluster: FakeTraining, *step: object) -> None:
    match step:
        case "fail", int(number), cause:
            assert isinstance(cause, Cause | int)
            for pod in list(cluster.live_running())[number : number + 1]:
                cluster.end(pod["metadata"]["name"], cause)
        case "delete", int(number):
            for pod in list(cluster.live_running())[number : number + 1]:
                cluster.remove(("Pod", pod["metadata"]["name"]))
        case "delete job", *_:
            for job in cluster.jobs[-1:]:
                cluster.remove(("Job", job))
        case "succeed", *_:
            succeed_all(cluster)
        case "change", dict(spec):
            cluster.change(**spec)
        case "advance", int(seconds):
            cluster.advance(seconds)
        case "kubelets", *_:
            cluster.let_go()
            cluster.run()
        case "lose status", *_:
            cluster.subject.pop("status", None)
        case "pass", *_:
            await cluster.pass_once()
    cluster.control_jobs()


def succeed_all(cluster: FakeTraining) -> None:
    """Where all pods of a Job run."""
    for job in cluster.jobs:
        pods = cluster.pods_of(job)
        phases = {pod.get("status", {}).get("phase") for pod in pods}
        if phases == {"Running"} and len(pods) == cluster.objects["Job", job]["spec"]["completions"]:
            cluster.succeed(job)


def check(cluster: FakeTraining) -> None:
    """At most one attempt has pods that run or may yet, and no rank is there twice."""
    seats = set()
    ranks = []
    for pod in cluster.live_pods():
        if pod.get("status", {}).get("phase", "Running") == "Running":
            labels = pod["metadata"]["labels"]
            seats.add((labels["hunyuan.dev/stage"], labels["hunyuan.dev/attempt"]))
            ranks.append(rank_of(pod))
    assert len(seats) <= 1, seats
    assert len(ranks) == len(set(ranks)), ranks


@settings(max_examples=60, deadline=None)
@given(story=st.lists(action, max_size=25))
def test_any_story_keeps_attempts_apart_and_ends_well(story: list[tuple[object, ...]]) -> None:
    async def play() -> None:
        cluster = FakeTraining(subject=fine_tune(restart={"limit": 1000}))
        for step in story:
            await act(cluster, *step)
            check(cluster)
        cluster.change(nodes=2, suspend=False)
        cluster.ask_for_retry("after three of the same")
        for _ in range(20):
            await cluster.settle()
            check(cluster)
            cluster.let_go()
            cluster.run()
            cluster.control_jobs()
            await cluster.settle()
            succeed_all(cluster)
            cluster.advance(600)
        await cluster.settle()
        assert cluster.status.state == "Complete"
        assert cluster.status.result is not None

    asyncio.run(play())
