"""What the operator counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconciles = Histogram(
            "hunyuan_operator_reconcile_seconds",
            "Duration of reconciles by result: ok, conflict, unavailable, refused, error.",
            ["result"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._requests = Counter(
            "hunyuan_operator_api_requests",
            "Requests to the API server by method and HTTP status (0: no answer).",
            ["method", "code"],
            registry=self.registry,
        )
        self._leader = Gauge("hunyuan_operator_leader", "1 while this instance leads, else 0.", registry=self.registry)
        self._depth = Gauge(
            "hunyuan_operator_queue_depth", "Deployments that wait for a reconcile.", registry=self.registry
        )

    def reconciled(self, result: str, seconds: float) -> None:
        self._reconciles.labels(result).observe(seconds)

    def requested(self, method: str, code: int) -> None:
        self._requests.labels(method, str(code)).inc()

    def leading(self, *, leads: bool) -> None:
        self._leader.set(leads)

    def watch_depth(self, depth: Callable[[], float]) -> None:
        self._depth.set_function(depth)

    def text(self) -> bytes:
        return generate_latest(self.registry)
