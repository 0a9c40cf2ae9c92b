"""Rank 0's second part: wait for all, lead them through the checks, tell them the verdict."""

import hmac
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from hunyuan_runtime.config import NetworkReport, Port, PreflightConfig, Rank
from hunyuan_runtime.preflight.links import PATIENCE, Limits, explain, listen
from hunyuan_runtime.preflight.messages import Answer, Channel, Hello, Seat, Task
from hunyuan_runtime.preflight.names import Resolve, problem_of, resolve
from hunyuan_runtime.preflight.schedule import rounds
from hunyuan_runtime.preflight.verdict import Measurement, check_answers, judge
from hunyuan_runtime.termination import Cause, RuntimeFailure

MEASURE_SECONDS = 60
"""For one direction of one link: three tries of latency and bandwidth at their slowest."""
ALL_REDUCE_SECONDS = 300


@dataclass(kw_only=True)
class Coordinator:
    config: PreflightConfig
    rank: Rank
    secret: str
    gpus: bool = False
    patience: float = PATIENCE
    resolve: Resolve = resolve
    _channels: dict[int, Channel] = field(default_factory=dict)
    _seats: dict[int, Seat] = field(default_factory=dict)

    def start(self) -> None:
        """Listen at once, lead from a thread of its own.

        Raises:
            OSError: the port can't be had.

        """
        listener = listen(self.rank.pod_ip, Port.PREFLIGHT.value)
        threading.Thread(target=self._lead, args=(listener,), name="coordinator", daemon=True).start()

    def _lead(self, listener: socket.socket) -> None:
        try:
            with listener:
                self._gather(listener)
            self._end(Task(kind="end", report=self._check()))
        except RuntimeFailure as failure:
            culprit = failure.ranks[0] if failure.ranks else 0
            self._end(
                Task(kind="end", cause=failure.cause.name, message=str(failure), ranks=failure.ranks, blamed=culprit)
            )
        except Exception as error:
            self._end(Task(kind="end", cause=Cause.Unexpected.name, message=f"{type(error).__name__}: {error}"))
            raise

    def _gather(self, listener: socket.socket) -> None:
        """Until every rank has said hello."""
        began, named = time.monotonic(), False
        listener.settimeout(1)
        while len(self._channels) < self.config.nodes:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                pass
            else:
                self._welcome(connection)
            waited = time.monotonic() - began
            named = named or self._is_named(waited)
            if waited > self.config.join_timeout_seconds:
                missing = sorted(set(range(self.config.nodes)) - set(self._channels))
                pods = ", ".join(self.rank.peers[rank].partition(".")[0] for rank in missing)
                raise RuntimeFailure(
                    Cause.RanksMissing,
                    f"after {waited:.0f} s these pods have not begun the preflight: {pods}",
                    ranks=tuple(missing),
                )

    def _welcome(self, connection: socket.socket) -> None:
        channel = Channel(connection)
        try:
            hello = channel.receive(Hello, 5)
        except (OSError, ValueError):
            return channel.close()  # no member, or one that went away
        known = hmac.compare_digest(hello.secret, self.secret) and 0 <= hello.seat.rank < self.config.nodes
        if not known or hello.seat.rank in self._channels:
            return channel.close()
        self._channels[hello.seat.rank] = channel
        self._seats[hello.seat.rank] = hello.seat
        return None

    def _is_named(self, waited: float) -> bool:
        """Whether the others can find this pod: they can't tell a missing record from a pod that isn't there yet."""
        problem = problem_of(self.rank.peers[0], self.rank.pod_ip, self.resolve)
        if problem and waited > self.patience:
            where = f"{self.rank.pod} on {self.rank.node}"
            raise RuntimeFailure(Cause.NetworkFailed, f"{where} isn't found by its own name: {problem}", ranks=(0,))
        return not problem

    def _check(self) -> NetworkReport:
        seats = [self._seats[rank] for rank in range(self.config.nodes)]
        everyone = Task(kind="resolve", seats=tuple(seats), seconds=self.patience + 60)
        check_answers(seats, self._ask_all(everyone), "find")
        connect = everyone.model_copy(update={"kind": "connect", "seconds": 60 + len(seats)})
        check_answers(seats, self._ask_all(connect), "connect to")
        measured = [one for pairs in rounds(len(seats)) for one in self._measure(seats, pairs)]
        network = self.config.network
        limits = Limits(min_bits_per_second=network.min_bits_per_second, max_latency_ms=network.max_latency_ms)
        judge(measured, limits, seats)  # a slow link explains a slow all-reduce, and takes less time to find
        return judge(measured, limits, seats, self._all_reduce(seats) if self.gpus else 0)

    def _measure(self, seats: list[Seat], pairs: Iterable[tuple[int, int]]) -> list[Measurement]:
        """Each direction on its own: a link that is slow in one of them is slow."""
        found = []
        for directed in (dict(pairs), {high: low for low, high in pairs}):
            tasks = {
                active: Task(kind="measure", seats=(seats[passive],), seconds=MEASURE_SECONDS)
                for active, passive in directed.items()
            }
            answers = self._ask(tasks)
            check_answers(seats, answers, "measure the link to")
            found += [
                Measurement(
                    source=seats[directed[rank]],
                    target=seats[rank],
                    bits_per_second=answer.bits_per_second,
                    latency_ms=answer.latency_ms,
                )
                for rank, answer in answers.items()
            ]
        return found

    def _all_reduce(self, seats: list[Seat]) -> int:
        with listen(seats[0].address, 0) as free:
            rendezvous = f"{seats[0].address}:{free.getsockname()[1]}"
        task = Task(kind="all-reduce", rendezvous=rendezvous, seconds=ALL_REDUCE_SECONDS)
        answers = self._ask_all(task)
        check_answers(seats, answers, "reduce with")  # each can only tell of itself
        return min(answer.bits_per_second for answer in answers.values())

    def _ask_all(self, task: Task) -> dict[int, Answer]:
        return self._ask(dict.fromkeys(self._channels, task))

    def _ask(self, tasks: Mapping[int, Task]) -> dict[int, Answer]:
        """Give all their tasks, then collect the answers; the deadline is for all together."""
        answers: dict[int, Answer] = {}
        deadlines = {rank: time.monotonic() + task.seconds for rank, task in tasks.items()}
        for rank, task in tasks.items():
            with self._talk_to(rank) as channel:
                channel.send(task)
        for rank, deadline in deadlines.items():
            with self._talk_to(rank) as channel:
                answers[rank] = channel.receive(Answer, deadline - time.monotonic())
        return answers

    @contextmanager
    def _talk_to(self, rank: int) -> Iterator[Channel]:
        """A member that times out is cut off; one that closed has its own reason, which is better than ours."""
        try:
            yield self._channels[rank]
        except ConnectionError as error:
            raise RuntimeFailure(Cause.RanksMissing, f"{self._seats[rank]} left the preflight: {error}") from error
        except OSError as error:
            raise RuntimeFailure(
                Cause.NetworkFailed, f"{self._seats[rank]} is silent: {explain(error)}", ranks=(rank, 0)
            ) from error

    def _end(self, task: Task) -> None:
        """Rank 0 last, since its end is this process's; who can't be told learns it from the lost connection."""
        for rank in sorted(self._channels, key=lambda rank: (rank == 0, rank != task.blamed)):
            try:
                self._channels[rank].send(task)
            except OSError:
                continue
