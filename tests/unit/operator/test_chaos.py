"""Whatever happens in whatever order: two attempts of a group never run together, and left alone it serves again."""

import asyncio
from collections import defaultdict

from hunyuan_operator.api import names
from hypothesis import given, settings
from hypothesis import strategies as st

from hunyuan_runtime.termination import Cause
from tests.unit.operator.fake_cluster import FakeCluster, deployment

RETRYABLE = [cause for cause in Cause if cause.retryable]
action = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from(RETRYABLE)),
    st.tuples(st.sampled_from(["vanish", "delete"]), st.integers(0, 9)),
    st.tuples(st.just("scale"), st.integers(0, 3)),
    st.tuples(st.just("revise"), st.integers(16, 20)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("advance"), st.integers(1, 100)),
    st.tuples(st.sampled_from(["let go", "start", "make ready", "lose status", "pass", "pass"])),
)


async def act(cluster: FakeCluster, what: str, *given: object) -> None:
    live = [pod["metadata"]["name"] for pod in cluster.live_pods()]
    match what, given:
        case "end", (int(number), Cause() as cause) if live:
            cluster.start_pods()
            cluster.end(live[number % len(live)], cause)
        case "vanish", (int(number),) if live:
            cluster.evaporate(live[number % len(live)])
        case "delete", (int(number),) if live:
            await cluster.delete(cluster.pod(live[number % len(live)]))
        case "scale", (int(groups),):
            cluster.change(groups=groups)
        case "revise", (int(length),):
            cluster.change(maxModelLen=length)
        case "suspend", (bool(suspended),):
            cluster.change(suspend=suspended)
        case "advance", (int(seconds),):
            cluster.advance(seconds)
        case "let go", _:
            cluster.let_go()
        case "start", _:
            cluster.start_pods()
        case "make ready", _:
            cluster.start_pods()
            cluster.make_ready()
        case "lose status", _:
            cluster.subject.pop("status", None)
        case "pass", _:
            await cluster.pass_once()


def check(cluster: FakeCluster) -> None:
    running = defaultdict(set)
    for pod in cluster.live_pods():
        labels = pod["metadata"]["labels"]
        running[labels[names.GROUP_INDEX]].add((labels[names.ATTEMPT], labels[names.REVISION]))
    assert all(len(attempts) == 1 for attempts in running.values()), running


@settings(max_examples=60, deadline=None)
@given(story=st.lists(action, max_size=25))
def test_any_story_keeps_attempts_apart_and_ends_well(story: list[tuple[str]]) -> None:
    async def play() -> None:
        cluster = FakeCluster(subject=deployment(groups=2, restart={"limit": 1000}))
        for step in story:
            await act(cluster, *step)
            check(cluster)
        cluster.change(groups=2, suspend=False)
        cluster.ask_for_retry("after three of the same")
        for _ in range(15):
            await cluster.settle()
            check(cluster)
            cluster.let_go()
            cluster.start_pods()
            cluster.make_ready()
            cluster.advance(600)
        assert cluster.condition("Ready")[0] == "True"
        assert len(cluster.pods) == 4

    asyncio.run(play())
