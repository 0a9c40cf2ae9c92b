"""``make demo``: from nothing to a right answer, with every step and its time."""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from tests import cluster as testbed
from tests import stack
from tests.stack import DEMO_NAMESPACE

NAME = "tiny"
START_DEADLINE = 15 * 60
"""Seconds until a group must be Ready; measured on two cores: about 2.5 minutes."""

T = TypeVar("T")


class Steps:
    """Prints each step when it begins and its seconds when it ends."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._number = 0

    def run(self, title: str, action: Callable[[], T]) -> T:
        self._number += 1
        begin = time.monotonic()
        print(f"\n[{self._number}] {title}", flush=True)
        result = action()
        print(f"    done in {time.monotonic() - begin:.0f} s", flush=True)
        return result

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def main() -> int:
    steps = Steps()
    cluster = steps.run("A Kubernetes of two nodes", lambda: testbed.up(nodes=2))
    stack.create_namespace(cluster, DEMO_NAMESPACE)
    steps.run("The operator, by helm install", lambda: stack.install_operator(cluster, cluster.images))
    if cluster.models is not None:
        stack.provide_host_volume(cluster, cluster.models, DEMO_NAMESPACE)
    steps.run("A tiny model that knows the answer", lambda: stack.provide_tiny_model(cluster, DEMO_NAMESPACE))
    steps.run("kubectl apply -f examples/tiny-deployment.yaml", lambda: _deploy(cluster))
    print(f"\n    > {stack.QUESTION}")
    answer = steps.run(
        f"A question to the Service http://{NAME}.{DEMO_NAMESPACE}.svc:8000/v1",
        lambda: stack.chat(cluster, NAME, stack.QUESTION, DEMO_NAMESPACE, cluster.images),
    )
    print(f"    < {answer}\n")
    _show(cluster, steps.seconds)
    if answer != stack.ANSWER:
        print("The answer is wrong: the model's shards or layers are not wired as they should be.", file=sys.stderr)
        return 1
    return 0


def _deploy(cluster: stack.Cluster) -> None:
    stack.apply_file(cluster, stack.ROOT / "examples/tiny-deployment.yaml", DEMO_NAMESPACE)
    last = ""

    def ready() -> bool:
        nonlocal last
        resource = stack.get(cluster, "hyd", NAME, DEMO_NAMESPACE)
        if (line := stack.summary(resource)) != last:
            print(f"    {line}", flush=True)
            last = line
        return stack.is_current(resource, "Ready", "True")

    stack.wait_until(
        f"{NAME} is Ready", ready, timeout=START_DEADLINE, state=lambda: stack.diagnosis(cluster, DEMO_NAMESPACE)
    )


def _show(cluster: testbed.Cluster, seconds: float) -> None:
    kubectl = f"kubectl --kubeconfig {cluster.kubeconfig} -n {DEMO_NAMESPACE}" if cluster.kubeconfig else "kubectl"
    print(cluster.kubectl("-n", DEMO_NAMESPACE, "get", "hyd,pods", "-o", "wide"))
    for condition in stack.get(cluster, "hyd", NAME, DEMO_NAMESPACE)["status"]["conditions"]:
        print("{type:<13} {status:<8} {reason:<22} {message}".format(**condition))
    print(f"""From nothing to the answer: {seconds:.0f} s. How to go on:
  {kubectl} get hyd -w
  {kubectl} scale hyd {NAME} --replicas 2
  {kubectl} explain hyd.spec
  {kubectl} delete hyd {NAME}
  make cluster-down""")


if __name__ == "__main__":
    sys.exit(main())
