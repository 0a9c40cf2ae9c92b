"""Who gets which rate, and the rate over the steps."""

import pytest
import torch
from torch import nn

from hunyuan_runtime.train.optimizer import groups_of, learning_rate, make_optimizer, set_rates
from tests.unit.train.configs import training


def named(*, frozen: tuple[str, ...] = ()) -> list[tuple[str, nn.Parameter]]:
    shapes = {
        "model.layers.0.self_attn.q_proj.weight": (2, 2),
        "model.layers.0.input_layernorm.weight": (2,),
        "model.layers.0.mlp.shared_mlp.up_proj.weight": (2, 2),
        "model.layers.0.mlp.experts.0.up_proj.weight": (2, 2),
        "model.layers.0.mlp.gate.wg.weight": (2, 2),
    }
    return [(name, nn.Parameter(torch.ones(shape), requires_grad=name not in frozen)) for name, shape in shapes.items()]


def test_without_wishes_all_share_one_group() -> None:
    [group] = groups_of(named(), training())
    assert (group.scale, group.decay, len(group.parameters)) == (1.0, 0.0, 5)


def test_routed_experts_have_their_own_rate_and_gains_do_not_decay() -> None:
    groups = groups_of(named(), training(expert_learning_rate_scale=0.31, weight_decay=0.1))
    assert {(group.scale, group.decay): len(group.parameters) for group in groups} == {
        (1.0, 0.1): 3,
        (1.0, 0.0): 1,
        (0.31, 0.1): 1,
    }


def test_what_is_frozen_is_in_no_group() -> None:
    frozen = tuple(name for name, _ in named() if "self_attn" not in name)
    [group] = groups_of(named(frozen=frozen), training())
    assert len(group.parameters) == 1


def test_rates_are_set_for_each_step_whatever_the_optimizer_was_loaded_with() -> None:
    groups = groups_of(named(), training(expert_learning_rate_scale=0.5, weight_decay=0.1))
    optimizer = make_optimizer(groups, 1.0, offloaded=False)
    for settings in optimizer.param_groups:
        settings.update(lr=7.0, weight_decay=7.0)
    set_rates(optimizer.param_groups, groups, 2e-3)
    assert [(settings["lr"], settings["weight_decay"]) for settings in optimizer.param_groups] == [
        (2e-3, 0.1),
        (2e-3, 0.0),
        (1e-3, 0.1),
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0: 1.0, 9: 0.1}),
        ({"warmup_steps": 4}, {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 9: 0.1}),
        ({"min_learning_rate": 0.0}, {0: 1.0, 9: 0.0}),
        ({"max_steps": 11}, {5: 0.55, 10: 0.1}),
        ({"max_steps": 1}, {0: 1.0}),
        ({"min_learning_rate": 5.0}, {0: 1.0, 5: 1.0, 9: 1.0}),
    ],
    ids=["from the rate to the minimum", "warm-up", "to nothing", "half way", "one step", "never above the rate"],
)
def test_the_rate_over_the_steps(changes: dict[str, float], expected: dict[int, float]) -> None:
    plan = training(**{"learning_rate": 1.0, "min_learning_rate": 0.1, **changes})
    assert {step: learning_rate(step, plan) for step in expected} == pytest.approx(expected)
