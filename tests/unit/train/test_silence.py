"""A pod that can't be reached any more ends the attempt of those that can, by its name."""

import time

import pytest

from hunyuan_runtime.config import Rank
from hunyuan_runtime.serve import peers
from hunyuan_runtime.serve.peers import Peers
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import silence
from hunyuan_runtime.train.silence import Silence, answers
from hunyuan_runtime.train_config import TrainPhase, TrainStatus

HOSTS = ("car-0.ranks", "car-1.ranks", "car-2.ranks")


def rank(index: int) -> Rank:
    return Rank(index=index, leader=HOSTS[0], pod_ip="10.0.0.1", peers=HOSTS)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "EVERY", 0.01)
    monkeypatch.setattr(silence, "PATIENCE", 0.5)


def ends(watched: Silence) -> RuntimeFailure:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            watched.check()
        except RuntimeFailure as failure:
            return failure
        time.sleep(0.01)
    raise AssertionError("nothing was noticed")


def test_rank_0_names_who_is_silent() -> None:
    heard: dict[str, str | None] = {HOSTS[1]: "", HOSTS[2]: None}
    watched = Silence(rank(0), Peers(ask=heard.__getitem__))
    watched.watch()
    failure = ends(watched)
    assert (failure.cause, failure.ranks) == (Cause.RankUnreachable, (2,))
    assert str(failure).startswith("car-0 has had no answer from car-2 for")


def test_the_others_ask_rank_0_alone() -> None:
    heard: dict[str, str | None] = {HOSTS[0]: None}
    watched = Silence(rank(1), Peers(ask=heard.__getitem__))
    watched.watch()
    assert ends(watched).ranks == (0,)


def test_before_the_ranks_have_met_nobody_is_missed() -> None:
    Silence(rank(0), Peers(ask=lambda _: None)).check()


def test_a_training_pods_status_server_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    server = StatusServer(port=0, status=TrainStatus(phase=TrainPhase.TRAINING), host="127.0.0.1")
    monkeypatch.setattr(silence, "Port", type("Port", (), {"STATUS": server.port}))
    assert answers("127.0.0.1") == ""
    server.close()
    assert answers("127.0.0.1") is None
