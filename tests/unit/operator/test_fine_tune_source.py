"""A deployment whose model a fine-tune makes: it waits for the result, mounts it, and rolls over to the next one."""

import json
from typing import Any

import pytest

from tests.unit.operator.fake_cluster import ARCHITECTURE, FakeCluster, Object, deployment

RESULT = {"claimName": "tuned", "path": "car/merged", "digest": "sha256:1"}


def fine_tune(name: str = "car", **status: Any) -> Object:
    return {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanFineTune",
        "metadata": {"name": name, "namespace": "demo", "uid": f"uid-of-{name}", "generation": 1},
        "spec": {
            "model": {"pvc": {"claimName": "models", "path": "tiny"}, "architecture": ARCHITECTURE},
            "data": {"pvc": {"claimName": "data", "path": "car.jsonl"}},
            "output": {"pvc": {"claimName": "tuned", "path": "car"}},
        },
        "status": status,
    }


def cluster(*fine_tunes: Object) -> FakeCluster:
    return FakeCluster(subject=deployment(model={"fineTune": {"name": "car"}}), fine_tunes=list(fine_tunes))


@pytest.mark.parametrize(
    ("fine_tunes", "reason", "message"),
    [
        pytest.param([], "FineTuneNotFound", "there is no HunyuanFineTune car in this namespace", id="none"),
        pytest.param(
            [fine_tune(name="truck", result=RESULT)],
            "FineTuneNotFound",
            "there is no HunyuanFineTune car in this namespace",
            id="another",
        ),
        pytest.param(
            [fine_tune()], "FineTuneNotReady", "HunyuanFineTune car has no result yet: it has not begun", id="new"
        ),
        pytest.param(
            [fine_tune(stage="train", state="Training")],
            "FineTuneNotReady",
            "HunyuanFineTune car has no result yet: stage train: Training",
            id="training",
        ),
        pytest.param(
            [fine_tune() | {"spec": {}}],
            "FineTuneNotReady",
            "HunyuanFineTune car can't be understood: spec.model: Field required; spec.data: Field required; "
            "spec.output: Field required",
            id="older than a rule",
        ),
    ],
)
async def test_without_a_result_nothing_is_created_and_the_conditions_say_why(
    fine_tunes: list[Object], reason: str, message: str
) -> None:
    waiting = cluster(*fine_tunes)
    await waiting.settle()
    assert waiting.objects == {}
    assert waiting.condition("Ready") == ("False", reason)
    assert waiting.condition("Degraded") == ("True", reason)
    assert waiting.message("Degraded") == message
    assert waiting.condition("Progressing") == ("False", reason)
    assert waiting.condition("Stalled") == ("", ""), "no one has to help"


async def test_the_result_is_mounted_where_the_fine_tune_left_it() -> None:
    tuned = cluster(fine_tune(state="Complete", result=RESULT))
    await tuned.serve()
    for name in tuned.pods:
        volumes = {volume["name"]: volume for volume in tuned.pod(name)["spec"]["volumes"]}
        assert volumes["model"]["persistentVolumeClaim"] == {"claimName": "tuned", "readOnly": True}
    (config,) = [o for (kind, _), o in tuned.objects.items() if kind == "ConfigMap"]
    served = json.loads(config["data"]["config.json"])
    assert served["model_path"] == "/models/car/merged"
    assert served["served_name"] == "tiny"


async def test_the_plan_is_for_the_base_models_shape_unless_the_deployment_has_its_own() -> None:
    tuned = cluster(fine_tune(result=RESULT))
    await tuned.settle()
    assert tuned.condition("Degraded")[0] == "False", "Hunyuan-Large would not fit"
    own = cluster(fine_tune(result=RESULT))
    own.change(model={"fineTune": {"name": "car"}, "architecture": ARCHITECTURE | {"numHiddenLayers": 1024}})
    await own.settle()
    plans = [one.status.plan for one in (tuned, own)]
    assert plans[0] and plans[1]
    assert plans[1].weight_bytes_per_gpu > 10 * plans[0].weight_bytes_per_gpu


async def test_another_result_in_the_same_folder_replaces_the_groups() -> None:
    tuned = cluster(fine_tune(result=RESULT))
    await tuned.serve()
    before = tuned.pods
    await tuned.settle()
    assert tuned.pods == before
    tuned.fine_tunes = [fine_tune(result=RESULT | {"digest": "sha256:2"})]
    await tuned.settle()
    assert tuned.condition("Progressing") == ("True", "RollingOut")
    await tuned.serve()
    assert tuned.pods == ["tiny-g0-2-0", "tiny-g0-2-1"]


@pytest.mark.parametrize("left", [[], [fine_tune(stage="train", state="Training")]], ids=["deleted", "made anew"])
async def test_what_runs_is_left_alone_when_the_result_is_gone(left: list[Object]) -> None:
    tuned = cluster(fine_tune(result=RESULT))
    await tuned.serve()
    before = tuned.pods
    tuned.fine_tunes = left
    await tuned.settle()
    assert tuned.pods == before
    assert tuned.condition("Ready")[0] == "True"
    assert tuned.condition("Degraded")[0] == "True"
