"""How far the ranks are: counted as tensors pass by, and the slowest speaks for all."""

from pathlib import Path

import pytest
import torch
from ray.experimental import internal_kv

from hunyuan_runtime.serve import load_progress
from hunyuan_runtime.serve.load_progress import HEAD_VARIABLE, Loaded, counted, loaded, teller, weight_bytes

WEIGHTS = [(str(number), torch.zeros(25)) for number in range(4)]  # 100 bytes each


def test_a_rank_tells_its_beginning_and_its_end_and_hands_everything_on() -> None:
    told: list[int] = []
    assert list(counted(WEIGHTS, 408, told.append)) == WEIGHTS
    assert told == [0, 408]


def test_a_rank_tells_once_a_second() -> None:
    clock = iter([0.0, 0.4, 1.1, 1.5, 2.5])
    told: list[int] = []
    list(counted(WEIGHTS, 408, told.append, lambda: next(clock)))
    assert told == [0, 200, 400, 408]


def test_a_tensor_counts_when_it_has_been_taken() -> None:
    told: list[int] = []
    next(counted(WEIGHTS, 408, told.append))
    assert told == [0]


def test_files_that_the_engine_does_not_read_do_not_count(tmp_path: Path) -> None:
    for name, size in {
        "model-1.safetensors": 10,
        "model-2.safetensors": 5,
        "pytorch_model.bin": 7,
        "a.json": 1,
    }.items():
        (tmp_path / name).write_bytes(bytes(size))
    assert weight_bytes(tmp_path, ["model*.safetensors", "pytorch_model*.bin"]) == 15
    assert weight_bytes(tmp_path, ["consolidated*", "pytorch_model*.bin"]) == 7
    assert weight_bytes(tmp_path, ["consolidated*"]) == 0


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Ray's store, played."""
    store: dict[str, bytes] = {}
    monkeypatch.setattr(internal_kv, "_internal_kv_put", lambda key, value, **_: store.update({key: value.encode()}))
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda key, **_: store.get(key))
    monkeypatch.setattr(internal_kv, "_internal_kv_initialized", lambda: True)
    return store


@pytest.mark.usefixtures("store")
def test_the_slowest_rank_speaks_for_all_once_all_have_begun() -> None:
    teller(0, 400)(300)
    assert loaded(ranks=2) is None
    teller(1, 400)(90)
    assert loaded(ranks=2) == Loaded(90, 400)


def test_without_ray_nobody_is_told(store: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_kv, "_internal_kv_initialized", lambda: False)
    monkeypatch.delenv(HEAD_VARIABLE, raising=False)
    teller(0, 400)(300)
    assert store == {}


def test_a_rank_that_ray_did_not_start_opens_a_line_of_its_own(
    store: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []
    monkeypatch.setattr(internal_kv, "_internal_kv_initialized", lambda: False)
    monkeypatch.setattr(internal_kv, "_initialize_internal_kv", heads.append)
    monkeypatch.setattr(load_progress, "GcsClient", lambda address: f"client of {address}")
    monkeypatch.setenv(HEAD_VARIABLE, "10.0.0.1:6379")
    teller(0, 400)(300)
    assert (heads, loaded(ranks=1)) == (["client of 10.0.0.1:6379"], Loaded(300, 400))
