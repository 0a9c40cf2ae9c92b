"""What every program of the runtime is told, and how it refuses what it can't use."""

from pathlib import Path

import pytest

from hunyuan_runtime.config import FetchConfig, HubSource, PreflightConfig, ServeConfig
from hunyuan_runtime.entry import rank_index, read_config, read_rank
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train_config import TrainConfig, TrainingConfig

HUB = HubSource(endpoint="https://hub", repo="a/b", revision="v1", cache="/models")
SERVE = ServeConfig(
    model_path="/models", hub=HUB, served_name="tiny", max_model_len=16, nodes=2, gpus_per_node=1, tensor_parallel=2,
    pipeline_parallel=1, max_num_seqs=1, gpu_memory_utilization=0.9, join_timeout_seconds=60,
)  # fmt: skip
TRAIN = TrainConfig(
    name="car", model_path="/models", hub=HUB, data_path="/data/a.jsonl", output="/output", nodes=2, gpus_per_node=1,
    join_timeout_seconds=60, training=TrainingConfig(max_steps=1, save_steps=1, max_seq_length=16),
)  # fmt: skip


@pytest.mark.parametrize("config", [SERVE, TRAIN], ids=["a group that serves", "a group that trains"])
def test_preflight_and_fetch_read_their_part_of_either_configuration(
    config: ServeConfig | TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    assert read_config(path, PreflightConfig) == PreflightConfig(nodes=2, gpus_per_node=1, join_timeout_seconds=60)
    assert read_config(path, FetchConfig) == FetchConfig(hub=HUB)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("{", "Invalid JSON"), ("{}", "Field required")],
    ids=["no file", "no JSON", "a field is missing"],
)
def test_a_configuration_that_cannot_be_used_is_named(text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RuntimeFailure, match=words) as failure:
        read_config(path, TrainConfig)
    assert failure.value.cause is Cause.ConfigInvalid
    assert str(path) in str(failure.value)


@pytest.mark.parametrize(
    ("env", "words"),
    [({}, "lacks 'HUNYUAN_RANK'"), ({"HUNYUAN_RANK": "two"}, "'two'"), ({"HUNYUAN_RANK": "-1"}, "greater than")],
    ids=["nothing", "no number", "no rank"],
)
def test_an_environment_that_cannot_be_used_is_told(
    env: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUNYUAN_RANK", raising=False)
    for name, value in {"HUNYUAN_LEADER": "a.pods", "HUNYUAN_POD_IP": "10.0.0.1", **env}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeFailure, match=words) as failure:
        read_rank()
    assert failure.value.cause is Cause.ConfigInvalid
    assert rank_index() == 0, "last words are possible all the same"
