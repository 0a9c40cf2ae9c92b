"""HunyuanFineTune as it is read: what may be absent, what is refused, what it shares with the trainer's contract."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hunyuan_operator.api.base import Model
from hunyuan_operator.api.finetune import DeepSpeed, HunyuanFineTune, Lora, Training
from hunyuan_operator.api.finetune_status import HunyuanFineTuneStatus, StageStatus
from hunyuan_operator.errors import InvalidSpec
from pydantic import BaseModel

from hunyuan_runtime.train_config import DeepSpeedConfig, LoraConfig, Stage, TrainingConfig, TrainPhase

EXAMPLES = Path(__file__).parents[3] / "examples"
LEAST: dict[str, Any] = {
    "model": {"pvc": {"claimName": "models"}},
    "data": {"pvc": {"claimName": "data", "path": "car_train.jsonl"}},
    "output": {"pvc": {"claimName": "models", "path": "car"}},
}


def manifest(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "car", "namespace": "demo", "uid": "u", "generation": 1}
    return {"metadata": metadata, "spec": LEAST | spec}


def test_the_least_that_must_be_said() -> None:
    spec = HunyuanFineTune.parse(manifest()).spec
    assert (spec.method, spec.nodes, spec.gpus_per_node) == ("lora", 1, 8)
    assert (spec.lora, spec.deepspeed, spec.evaluation, spec.ttl_after_finished) == (None, DeepSpeed(), None, None)
    assert (spec.after.merge.enabled, spec.after.merge.dtype, spec.after.quantize) == (True, "bf16", "none")


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"model": {}}, "spec.model: exactly one of pvc, image and huggingFace must be set"),
        (
            {"data": {"pvc": {"claimName": "data", "path": "../x"}}},
            "spec.data.pvc.path: must be relative, without '..'",
        ),
        ({"lora": {"alpha": 0}}, "spec.lora.alpha: must be above 0"),
        ({"ttlAfterFinished": "soon"}, "spec.ttlAfterFinished: 'soon' is not a duration such as 90s or 1h30m"),
    ],
)
def test_an_object_older_than_a_rule_is_refused_with_its_field(spec: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        HunyuanFineTune.parse(manifest(**spec))
    assert str(refused.value) == error


@pytest.mark.parametrize(("api", "contract"), [(Training, TrainingConfig), (Lora, LoraConfig)])
def test_what_the_trainer_can_be_told_can_be_asked_for(api: type[Model], contract: type[BaseModel]) -> None:
    assert set(api.model_fields) == set(contract.model_fields)
    defaults = {name: field.default for name, field in contract.model_fields.items() if not field.is_required()}
    offered = {name: api.model_fields[name].default for name in defaults}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()} == offered


def test_what_deepspeed_shares_comes_from_the_contract() -> None:
    assert set(DeepSpeed.model_fields) - {"config_map"} == set(DeepSpeedConfig.model_fields) - {"own"}


def test_status_knows_every_stage_and_state_of_the_trainer() -> None:
    fields = HunyuanFineTuneStatus.model_fields
    for stage in Stage:
        assert HunyuanFineTuneStatus(stage=stage.value).stage == stage
        assert stage in str(StageStatus.model_fields["name"].description)
    assert not [phase for phase in TrainPhase if phase not in str(fields["state"].description)]


def test_a_stage_that_begins_anew_keeps_nothing_but_its_name() -> None:
    stage = StageStatus(name="train", attempt=3, failures=["2026-01-01T00:00:00Z"], report="loss 0.1", nodes=["a"])
    assert stage.blank() == StageStatus(name="train")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_read_and_have_no_unknown_field(path: Path) -> None:
    for resource in yaml.safe_load_all(path.read_text()):
        if resource["kind"] == "HunyuanFineTune":
            spec = HunyuanFineTune.parse(resource).spec.model_dump(by_alias=True, exclude_unset=True)
            assert spec == resource["spec"]
