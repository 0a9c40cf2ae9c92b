"""What the API server takes and refuses as a HunyuanFineTune, and as a change of one; see ``test_validation``."""

import json
from typing import Any

import pytest
import yaml
from hunyuan_operator.crdgen.finetune import FINE_TUNE

from tests import cluster as testbed
from tests.apiserver import examples
from tests.apiserver.examples import (
    ABSOLUTE,
    DURATION,
    NAME_CHARACTERS,
    NAME_LENGTH,
    OBJECT_NAME,
    PARENT,
    PVC,
    Resource,
    assert_names,
    expect_refusal,
    missing_examples,
    try_out,
)

pytestmark = pytest.mark.apiserver

DATA = {"pvc": {"claimName": "data", "path": "car_train.jsonl"}}
UNCHANGED = "can't be changed: a fine-tune trains one thing, make another resource"
EXCLUSIVE = "pvc, image and huggingFace exclude each other: keep one of them"
MODULE = "must be a module's name, such as q_proj"


def hyft(name: str = "car", **spec: Any) -> Resource:
    """A HunyuanFineTune that is right but for what is given; a field that is None is absent."""
    base = {"model": {"pvc": PVC}, "data": DATA, "output": {"pvc": {"claimName": "models", "path": "car"}}}
    return {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanFineTune",
        "metadata": {"name": name},
        "spec": {field: value for field, value in (base | spec).items() if value is not None},
    }


def data(**fields: Any) -> Resource:
    return hyft(data={"pvc": DATA["pvc"] | fields})


def evaluation(**fields: Any) -> Resource:
    return hyft(evaluation={"pvc": DATA["pvc"] | fields})


def output(**fields: Any) -> Resource:
    return hyft(output={"pvc": {"claimName": "models", "path": "car"} | fields})


def training(**fields: Any) -> Resource:
    return hyft(training=fields)


def configured(**fields: Any) -> Resource:
    return hyft(deepspeed={"configMap": {"name": "deepspeed"} | fields})


ACCEPTED = {
    "the least": hyft(),
    "files in folders": hyft(
        data={"pvc": {"claimName": "data.ssd-1", "path": "car/train..jsonl"}},
        evaluation={"pvc": {"claimName": "data", "path": "car/test.json"}},
        output={"pvc": {"claimName": "models", "path": "tuned/car"}},
    ),
    "all of lora's": hyft(method="lora", lora={"rank": 8, "alpha": 16.5, "dropout": 0, "targets": ["q_proj", "w1_2"]}),
    "another method": hyft(method="full"),
    "attention alone": hyft(method="attention"),
    "ZeRO 2": hyft(deepspeed={"zero": 2, "offload": "optimizer"}),
    "a DeepSpeed configuration of one's own": configured(key="zero.json_1"),
    "all that a training has": training(
        maxSteps=10,
        saveSteps=10,
        loggingSteps=5,
        maxSeqLength=16,
        batchSizePerGpu=2,
        gradientAccumulation=4,
        learningRate=1e-4,
        minLearningRate=1e-4,
        warmupSteps=9,
        weightDecay=0.1,
        maxGradNorm=0,
        expertLearningRateScale=0.31,
        gradientCheckpointing=False,
        packing=True,
        precision="fp32",
        seed=42,
    ),
    "whole numbers as rates": training(learningRate=1, minLearningRate=0, maxGradNorm=1, weightDecay=1),
    "nothing made afterwards": hyft(after={"merge": {"enabled": False}}),
    "a quantised result": hyft(after={"merge": {"dtype": "fp32"}, "quantize": "fp8"}),
    "many GPUs": hyft(nodes=64, gpusPerNode=16),
    "the shortest time to live": hyft(ttlAfterFinished="1s"),
    "suspended, with one checkpoint": hyft(suspend=True, checkpoints={"keep": 1}),
    "the longest name": hyft(name="h" * 40),
    **{name: hyft(**spec) for name, spec in examples.ACCEPTED.items()},
}

REFUSED: list[tuple[Resource, str, str]] = [
    (hyft(name="h" * 41), "metadata.name", NAME_LENGTH),
    (hyft(name="hy.car"), "metadata.name", NAME_CHARACTERS),
    # What goes in and comes out
    (hyft(model=None), "spec.model", "Required value"),
    (hyft(model={}), "spec.model", "has no source: set pvc, image or huggingFace"),
    (hyft(model={"pvc": PVC, "image": {"reference": "a:1"}}), "spec.model", EXCLUSIVE),
    (hyft(data=None), "spec.data", "Required value"),
    (hyft(data={}), "spec.data.pvc", "Required value"),
    (hyft(data={"pvc": PVC}), "spec.data.pvc.path", "Required value"),
    (data(claimName="Data"), "spec.data.pvc.claimName", OBJECT_NAME),
    (data(path=""), "spec.data.pvc.path", "at least 1 chars long"),
    (data(path="/car.jsonl"), "spec.data.pvc.path", ABSOLUTE),
    (data(path="../car.jsonl"), "spec.data.pvc.path", PARENT),
    (data(path="car/"), "spec.data.pvc.path", "must be a file, not a folder"),
    (evaluation(claimName="Data"), "spec.evaluation.pvc.claimName", OBJECT_NAME),
    (evaluation(path="/car.json"), "spec.evaluation.pvc.path", ABSOLUTE),
    (evaluation(path="a/../car.json"), "spec.evaluation.pvc.path", PARENT),
    (evaluation(path="car/"), "spec.evaluation.pvc.path", "must be a file, not a folder"),
    (hyft(output=None), "spec.output", "Required value"),
    (hyft(output={"pvc": PVC}), "spec.output.pvc.path", "Required value"),
    (output(claimName="Models"), "spec.output.pvc.claimName", OBJECT_NAME),
    (output(path=""), "spec.output.pvc.path", "at least 1 chars long"),
    (output(path="/car"), "spec.output.pvc.path", ABSOLUTE),
    (output(path=".."), "spec.output.pvc.path", PARENT),
    # The method
    (hyft(method="qlora"), "spec.method", 'supported values: "lora", "full", "attention"'),
    (hyft(method="full", lora={"rank": 8}), "spec.lora", "is only for the method lora: drop it"),
    (hyft(lora={"rank": 0}), "spec.lora.rank", "greater than or equal to 1"),
    (hyft(lora={"alpha": 0}), "spec.lora.alpha", "must be above 0"),
    (hyft(lora={"dropout": 1}), "spec.lora.dropout", "must be below 1"),
    (hyft(lora={"targets": []}), "spec.lora.targets", "at least 1 items"),
    (hyft(lora={"targets": ["self_attn.q_proj"]}), "spec.lora.targets[0]", MODULE),
    # DeepSpeed
    (hyft(deepspeed={"zero": 1}), "spec.deepspeed.zero", 'supported values: "2", "3"'),
    (hyft(deepspeed={"offload": "nvme"}), "spec.deepspeed.offload", 'supported values: "none", "optimizer", "all"'),
    (
        hyft(deepspeed={"zero": 3, "configMap": {"name": "deepspeed"}}),
        "spec.deepspeed.configMap",
        "configMap holds the whole configuration: drop zero and offload",
    ),
    (hyft(deepspeed={"configMap": {}}), "spec.deepspeed.configMap.name", "Required value"),
    (configured(name="DeepSpeed"), "spec.deepspeed.configMap.name", OBJECT_NAME),
    (configured(key="a/b"), "spec.deepspeed.configMap.key", "must be a key of a ConfigMap"),
    # The training
    (
        training(learningRate=1e-6, minLearningRate=1e-5),
        "spec.training.minLearningRate",
        "must not be above learningRate, from which it goes down",
    ),
    (
        training(maxSteps=10, saveSteps=11),
        "spec.training.saveSteps",
        "must not be above maxSteps: nothing would be saved on the way",
    ),
    (
        training(maxSteps=10, saveSteps=5, warmupSteps=10),
        "spec.training.warmupSteps",
        "must be below maxSteps: the rate would never be reached",
    ),
    (training(maxSteps=0), "spec.training.maxSteps", "greater than or equal to 1"),
    (training(learningRate=0), "spec.training.learningRate", "must be above 0"),
    (training(maxSeqLength=8), "spec.training.maxSeqLength", "greater than or equal to 16"),
    (training(precision="fp16"), "spec.training.precision", 'supported values: "bf16", "fp32"'),
    (training(expertLearningRateScale=0), "spec.training.expertLearningRateScale", "must be above 0"),
    # Pods, and what comes after
    (hyft(nodes=0), "spec.nodes", "greater than or equal to 1"),
    (hyft(nodes=65), "spec.nodes", "less than or equal to 64"),
    (hyft(gpusPerNode=17), "spec.gpusPerNode", "less than or equal to 16"),
    (hyft(checkpoints={"keep": 0}), "spec.checkpoints.keep", "greater than or equal to 1"),
    (
        hyft(after={"merge": {"enabled": False}, "quantize": "fp8"}),
        "spec.after.quantize",
        "needs merge.enabled: it is the merged model that is quantised",
    ),
    (hyft(after={"quantize": "int8"}), "spec.after.quantize", 'supported values: "none", "fp8"'),
    (hyft(ttlAfterFinished="1d"), "spec.ttlAfterFinished", DURATION),
    *((hyft(**spec), field, message) for spec, field, message in examples.REFUSED),
]

BEFORE = hyft(evaluation=DATA, lora={"rank": 8}, training={"maxSteps": 10, "saveSteps": 5})

CHANGES_REFUSED: list[tuple[Resource, str, str]] = [
    (BEFORE | {"spec": BEFORE["spec"] | change}, f"spec.{field}", UNCHANGED)
    for field, change in (
        ("model", {"model": {"pvc": PVC | {"path": "other"}}}),
        ("data", {"data": {"pvc": {"claimName": "data", "path": "other.jsonl"}}}),
        ("evaluation", {"evaluation": {"pvc": {"claimName": "data", "path": "other.jsonl"}}}),
        ("output", {"output": {"pvc": {"claimName": "models", "path": "other"}}}),
        ("method", {"method": "attention"}),
        ("lora", {"lora": {"rank": 16}}),
        ("deepspeed", {"deepspeed": {"zero": 2}}),
        ("training", {"training": {"maxSteps": 20, "saveSteps": 5}}),
    )
] + [
    (BEFORE | {"spec": {k: v for k, v in BEFORE["spec"].items() if k != field}}, f"spec.{field}", UNCHANGED)
    for field in ("evaluation", "lora", "training")
]

CHANGES_ACCEPTED = {
    "nothing": {},
    "nodes": {"nodes": 2},
    "what comes after": {"after": {"merge": {"dtype": "fp16"}, "quantize": "fp8"}},
    "checkpoints": {"checkpoints": {"keep": 5}},
    "restarts": {"restart": {"limit": 9}},
    "pods": {"runtime": {"memory": "128Gi"}, "scheduling": {"priorityClassName": "high"}},
    "an end": {"ttlAfterFinished": "1h", "suspend": True},
}


@pytest.mark.parametrize("resource", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(cluster: testbed.Cluster, resource: Resource) -> None:
    assert "created" in try_out(cluster, resource)


@pytest.mark.parametrize(("resource", "field", "message"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_refused_with_the_field_and_the_reason(
    cluster: testbed.Cluster, resource: Resource, field: str, message: str
) -> None:
    expect_refusal(cluster, resource, field, message)


def test_what_is_trained_stays_and_how_may_change(cluster: testbed.Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(BEFORE))

    def replace(resource: Resource) -> str:
        return cluster.kubectl("-n", namespace, "replace", "--dry-run=server", "-f", "-", stdin=json.dumps(resource))

    for change in CHANGES_ACCEPTED.values():
        assert "replaced" in replace(BEFORE | {"spec": BEFORE["spec"] | change})
    for resource, field, message in CHANGES_REFUSED:
        with pytest.raises(RuntimeError) as refused:
            replace(resource)
        assert_names(str(refused.value), field, message)


def test_every_rule_has_both_examples() -> None:
    [version] = FINE_TUNE.crd()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert missing_examples(schema, REFUSED + CHANGES_REFUSED, ACCEPTED.values()) == []


def test_the_crd_that_is_tried_out_is_the_one_of_the_models(cluster: testbed.Cluster) -> None:
    stored = json.loads(cluster.kubectl("get", "crd", FINE_TUNE.crd()["metadata"]["name"], "-o", "json"))
    assert stored["spec"]["versions"] == yaml.safe_load(yaml.safe_dump(FINE_TUNE.crd()))["spec"]["versions"]
