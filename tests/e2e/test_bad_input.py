"""What a user can get wrong: each has one clear error, and nothing is left half made."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import cluster as testbed
from tests import stack
from tests.stack import DEMO_NAMESPACE as NAMESPACE

pytestmark = pytest.mark.cluster

NAME = "wrong"
EXAMPLE = stack.ROOT / "examples/tiny-deployment.yaml"
TINY = yaml.safe_load(EXAMPLE.read_text())["spec"]["model"]


@pytest.fixture
def submit(cluster: testbed.Cluster, models: Path) -> Iterator[Callable[..., str]]:
    """Apply the tiny example under another name with some fields of its spec replaced; gone after the test."""

    def submit(**spec: Any) -> str:
        resource = yaml.safe_load(EXAMPLE.read_text())
        resource["metadata"] = {"name": NAME, "namespace": NAMESPACE}
        resource["spec"] |= spec
        return stack.apply(cluster, resource)

    yield submit
    cluster.kubectl("-n", NAMESPACE, "delete", "hyd", NAME, "--ignore-not-found")
    stack.wait_until("its pods are gone", lambda: not made(cluster, "pods"), timeout=120)


def made(cluster: testbed.Cluster, kind: str) -> list[dict[str, Any]]:
    return stack.list_of(cluster, kind, NAMESPACE, f"hunyuan.dev/deployment={NAME}")


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        pytest.param({"quantization": "int4"}, "spec.quantization: Unsupported value", id="unknown quantization"),
        pytest.param(
            {"model": {"pvc": {"claimName": "models"}, "image": {"reference": "registry.example/model:1"}}},
            "spec.model",
            id="two model sources",
        ),
    ],
)
def test_the_api_server_refuses_it_and_names_the_field(
    cluster: testbed.Cluster, submit: Callable[..., str], spec: dict[str, Any], error: str
) -> None:
    with pytest.raises(RuntimeError, match=error):
        submit(**spec)
    assert not made(cluster, "pods")
    assert not made(cluster, "configmaps")


def copied(models: Path, name: str) -> Path:
    """The tiny model under another name, readable for the pods' user."""
    folder = shutil.copytree(models / "tiny", models / name, dirs_exist_ok=True)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def corrupt(models: Path) -> str:
    """The tiny model with its last shard cut in half."""
    folder = copied(models, "corrupt")
    shard = max(folder.glob("*.safetensors"))
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size // 2)
    return folder.name


def wrong_tokenizer(models: Path) -> str:
    """The tiny model with a text where its tokenizer should be."""
    folder = copied(models, "wrong-tokenizer")
    (folder / "tokenizer.json").write_text("not a tokenizer\n")
    return folder.name


def unreadable(models: Path) -> str:
    """The tiny model as root copied it, for nobody else to read."""
    folder = copied(models, "unreadable")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o600)
    return folder.name


@pytest.mark.parametrize(
    ("path_of", "reason", "words"),
    [
        pytest.param(lambda _: "no/such/folder", "ModelNotFound", ["/models/no/such/folder"], id="no such path"),
        pytest.param(corrupt, "CheckpointInvalid", ["corrupt/", ".safetensors"], id="truncated shard"),
        pytest.param(wrong_tokenizer, "TokenizerInvalid", ["tokenizer.json"], id="not a tokenizer"),
        pytest.param(unreadable, "CheckpointInvalid", ["unreadable/", "Permission denied"], id="unreadable shard"),
    ],
)
def test_a_model_that_cannot_be_loaded_stalls_with_its_reason_and_frees_its_gpus(
    cluster: testbed.Cluster,
    models: Path,
    submit: Callable[..., str],
    path_of: Callable[[Path], str],
    reason: str,
    words: list[str],
) -> None:
    submit(model=TINY | {"pvc": {"claimName": "models", "path": path_of(models)}})
    stalled = stack.wait_condition(cluster, NAME, NAMESPACE, ("Stalled", "True"), timeout=180)
    found = stack.condition(stalled, "Stalled")
    print(found)
    assert found["reason"] == reason
    assert all(word in found["message"] for word in words)
    assert stalled["status"]["lastFailure"]["reason"] == reason
    stack.wait_until("its pods are gone", lambda: not made(cluster, "pods"), timeout=120)


def test_a_model_that_does_not_fit_is_refused_before_any_pod_exists(
    cluster: testbed.Cluster, submit: Callable[..., str]
) -> None:
    submit(model={"pvc": TINY["pvc"]})  # which says nothing of its shape, so that Hunyuan-Large's is planned for
    stalled = stack.wait_condition(cluster, NAME, NAMESPACE, ("Stalled", "True"), timeout=60)
    found = stack.condition(stalled, "Degraded")
    print(found)
    assert (found["status"], found["reason"]) == ("True", "DoesNotFit")
    assert "Smallest change that fits: " in found["message"]
    assert not made(cluster, "pods")


def test_more_gpus_than_any_node_has_stays_pending_and_says_so(
    cluster: testbed.Cluster, submit: Callable[..., str]
) -> None:
    submit(gpus={"perNode": 4}, parallelism={"tensor": 2, "pipeline": 2})
    waiting: dict[str, Any] = {}

    def refused() -> bool:
        waiting.update(stack.get(cluster, "hyd", NAME, NAMESPACE))
        return bool(stack.condition(waiting, "Scheduled").get("reason") == "Unschedulable")

    stack.wait_until("the scheduler has said no", refused, timeout=60, state=lambda: str(waiting.get("status")))
    found = stack.condition(waiting, "Scheduled")
    print(found)
    assert found["status"] == "False"
    assert "nvidia.com/gpu" in found["message"]
    assert "lastFailure" not in waiting["status"]
    assert [pod["status"]["phase"] for pod in made(cluster, "pods")] == ["Pending"]
