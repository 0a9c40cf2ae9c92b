"""TrainConfig → DeepSpeed's JSON, and what a user's own may say."""

from typing import Any

import pytest

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.batches import batch_of
from hunyuan_runtime.train.deepspeed_json import deepspeed_json, offloads_optimizer
from hunyuan_runtime.train_config import DeepSpeedConfig, TrainConfig
from tests.unit.train.configs import config, training

CPU = {"device": "cpu", "pin_memory": True}
COMMON = {
    "train_batch_size": 16,
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 2,
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True},
    "fp16": {"enabled": False},
    "steps_per_print": 2**31,
    "zero_force_ds_cpu_optimizer": False,
}
TRAINING = training(gradient_accumulation=2)


def made(tuned: TrainConfig, own: dict[str, Any] | None = None) -> dict[str, Any]:
    return deepspeed_json(tuned, batch_of(tuned), 100, own)


@pytest.mark.parametrize(
    ("zero", "offload", "expected"),
    [
        (2, "none", {"stage": 2}),
        (2, "optimizer", {"stage": 2, "offload_optimizer": CPU}),
        (3, "none", {"stage": 3}),
        (3, "optimizer", {"stage": 3, "offload_optimizer": CPU}),
        (3, "all", {"stage": 3, "offload_optimizer": CPU, "offload_param": CPU}),
    ],
)
def test_every_form_that_the_spec_knows(zero: Any, offload: Any, expected: dict[str, Any]) -> None:
    json = made(config(training=TRAINING, deepspeed=DeepSpeedConfig(zero=zero, offload=offload)))
    assert json == COMMON | {"zero_optimization": {"contiguous_gradients": True, "overlap_comm": True, **expected}}
    assert offloads_optimizer(json) is (offload != "none")


def test_fp32_is_for_machines_without_gpus() -> None:
    assert made(config(training=training(precision="fp32")))["bf16"] == {"enabled": False}


def test_parameters_leave_the_gpu_only_with_zero_3() -> None:
    with pytest.raises(RuntimeFailure, match="offload all moves parameters too, which needs ZeRO 3, not 2"):
        made(config(deepspeed=DeepSpeedConfig(zero=2, offload="all")))


OWN = config(training=TRAINING, deepspeed=DeepSpeedConfig(own=True))


def test_what_a_users_json_leaves_automatic_is_filled_in() -> None:
    own = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "weight_decay": "auto"}},
        "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_num_steps": "auto"}},
        "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"},
        "activation_checkpointing": {"cpu_checkpointing": True},
    }
    assert made(OWN, own) == COMMON | {
        "zero_optimization": {"stage": 3, "reduce_bucket_size": 10000, "stage3_prefetch_bucket_size": 9000},
        "activation_checkpointing": {"cpu_checkpointing": True},
    }


def test_a_users_json_may_repeat_the_spec() -> None:
    own = {
        "train_batch_size": 16,
        "gradient_accumulation_steps": 2,
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-5}},
        "zero_optimization": {"stage": 2},
    }
    assert made(OWN, own) == COMMON | {"zero_optimization": {"stage": 2}}


def test_after_a_change_of_nodes_a_users_json_still_says_what_the_run_began_with() -> None:
    own = {"gradient_accumulation_steps": 2, "zero_optimization": {"stage": 3}}
    json = deepspeed_json(OWN, batch_of(OWN, whole=32), 100, own)
    assert (json["train_batch_size"], json["gradient_accumulation_steps"]) == (32, 4)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"train_batch_size": 32}, "train_batch_size is 32, but the spec's value is 16"),
        ({"train_micro_batch_size_per_gpu": 4}, "train_micro_batch_size_per_gpu is 4, but the spec's value is 1"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps is 1, but the spec's value is 2"),
        ({"gradient_clipping": 0.5}, "gradient_clipping is 0.5, but the spec's value is 1.0"),
        ({"bf16": {"enabled": False}}, "bf16.enabled is False, but the spec's value is True"),
        ({"fp16": {"enabled": True}}, "fp16.enabled is True, but the spec's value is False"),
        ({"optimizer": {"type": "Lamb"}}, "optimizer.type is Lamb, but the spec's value is AdamW"),
        ({"optimizer": {"params": {"lr": 1e-3}}}, "optimizer.params.lr is 0.001, but the spec's value is 1e-05"),
        ({"optimizer": {"params": {"amsgrad": True}}}, "optimizer.params.amsgrad is True, which the optimizer here"),
        ({"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 0}}}, "scheduler is OneCycle with values"),
        ({"zero_optimization": {"stage": 1}}, "zero_optimization.stage is 1; it must be 2 or 3"),
        ({"zero_optimization": {}}, "zero_optimization.stage is None; it must be 2 or 3"),
        ({"zero_optimization": {"stage": 3, "sub_group_size": "auto"}}, 'sub_group_size is "auto", which nothing'),
        ({"checkpoint": {"load_universal": True}}, "checkpoint.load_universal is true"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_contradiction_is_refused_with_the_key_and_both_values(own: dict[str, Any], words: str) -> None:
    with pytest.raises(RuntimeFailure) as failure:
        made(OWN, {"zero_optimization": {"stage": 3}, **own})
    assert failure.value.cause is Cause.ConfigInvalid
    assert words in str(failure.value)
