"""The cache shows the newest picture of each object, in whatever order pictures arrive."""

from itertools import permutations
from typing import Any

import pytest
from hunyuan_operator.cluster.cache import Cache, key_of, slim
from hunyuan_operator.cluster.port import Key

TINY = Key("HunyuanDeployment", "demo", "tiny")
CAR = Key("HunyuanFineTune", "demo", "car")


def pod(version: int, uid: str = "p1", owner: str = "tiny", namespace: str = "demo", **extra: Any) -> dict[str, Any]:
    metadata = {
        "namespace": namespace,
        "name": f"pod-{uid}",
        "uid": uid,
        "resourceVersion": str(version),
        "labels": {"hunyuan.dev/deployment": owner} if owner else {},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"version": version}, **extra}


def deployment(version: int, uid: str = "d1", fine_tune: str = "") -> dict[str, Any]:
    metadata = {"namespace": "demo", "name": "tiny", "uid": uid, "resourceVersion": str(version)}
    spec = {"model": {"fineTune": {"name": fine_tune}} if fine_tune else {"pvc": {"claimName": "models"}}}
    return {"apiVersion": "hunyuan.dev/v1alpha1", "kind": "HunyuanDeployment", "metadata": metadata, "spec": spec}


def fine_tune(version: int, name: str = "car") -> dict[str, Any]:
    metadata = {"namespace": "demo", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "hunyuan.dev/v1alpha1", "kind": "HunyuanFineTune", "metadata": metadata, "spec": {}}


def job(version: int, **extra: Any) -> dict[str, Any]:
    labels = {"hunyuan.dev/finetune": "car"}
    metadata = {"namespace": "demo", "name": "job", "uid": "j1", "resourceVersion": str(version), "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **extra}


def versions(cache: Cache, key: Key = TINY) -> dict[str, int]:
    return {child["metadata"]["uid"]: int(child["metadata"]["resourceVersion"]) for child in cache.children(key)}


def test_a_deployment_and_its_children_are_found_by_key() -> None:
    cache = Cache()
    cache.put(deployment(1))
    cache.put(pod(2))
    cache.put(pod(3, uid="p2", owner="other"))
    found = cache.resource(TINY)
    assert found is not None
    assert found["metadata"]["uid"] == "d1"
    assert versions(cache) == {"p1": 2}
    assert sorted(map(str, cache.owners())) == ["HunyuanDeployment demo/other", "HunyuanDeployment demo/tiny"]


def test_kinds_of_one_name_have_children_of_their_own() -> None:
    cache = Cache()
    cache.put(deployment(1))
    cache.put(fine_tune(2, name="tiny"))
    cache.put(pod(3))
    cache.put(job(4))
    assert versions(cache) == {"p1": 3}
    assert versions(cache, Key("HunyuanFineTune", "demo", "tiny")) == {}
    assert versions(cache, CAR) == {"j1": 4}
    assert cache.resource(CAR) is None
    found = cache.resource(Key("HunyuanFineTune", "demo", "tiny"))
    assert found is not None
    assert found["kind"] == "HunyuanFineTune"


def test_a_fine_tune_concerns_the_deployments_that_name_it() -> None:
    cache = Cache()
    cache.put(deployment(1, fine_tune="car"))
    assert cache.concerned(fine_tune(2)) == {CAR, TINY}
    assert cache.concerned(fine_tune(2, name="other")) == {Key("HunyuanFineTune", "demo", "other")}
    assert cache.concerned(job(3)) == {CAR}, "its children are no news to them"
    cache.put(deployment(4, fine_tune="other"))
    assert cache.dependents(CAR) == set()
    assert cache.dependents(Key("HunyuanFineTune", "demo", "other")) == {TINY}
    cache.remove(deployment(5))
    assert cache.dependents(Key("HunyuanFineTune", "demo", "other")) == set()


def test_a_deployment_that_was_made_anew_still_follows_its_fine_tune() -> None:
    cache = Cache()
    cache.put(deployment(1, fine_tune="car"))
    cache.put(deployment(3, uid="d2", fine_tune="car"))
    cache.remove(deployment(2))
    assert cache.dependents(CAR) == {TINY}


def test_nothing_is_known_of_an_unknown_key() -> None:
    assert Cache().resource(TINY) is None
    assert Cache().children(TINY) == []


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_the_newest_picture_stays_in_any_order_of_arrival(order: tuple[int, ...]) -> None:
    cache = Cache()
    for version in order:
        cache.put(pod(version))
    assert versions(cache) == {"p1": 3}


@pytest.mark.parametrize("order", list(permutations(["put 5", "put 6", "remove 7"])))
def test_a_late_picture_never_brings_a_removed_object_back(order: tuple[str, ...]) -> None:
    cache = Cache()
    for step in order:
        action, version = step.split()
        (cache.put if action == "put" else cache.remove)(pod(int(version)))
    assert versions(cache) == {}


def test_a_new_object_of_the_same_name_is_another() -> None:
    cache = Cache()
    cache.put(pod(5))
    cache.remove(pod(6))
    cache.put(pod(7, uid="p1-again"))
    assert versions(cache) == {"p1-again": 7}


def test_an_object_whose_label_left_and_came_back_is_seen_again() -> None:
    cache = Cache()
    cache.put(pod(5))
    cache.remove(pod(6))  # a watch with a selector calls it deleted
    cache.put(pod(7))
    assert versions(cache) == {"p1": 7}


def test_an_object_that_changes_its_owner_leaves_the_first_and_both_are_told() -> None:
    cache = Cache()
    cache.put(pod(5))
    assert cache.put(pod(6, owner="other")) == {TINY, Key("HunyuanDeployment", "demo", "other")}
    assert versions(cache) == {}
    assert versions(cache, Key("HunyuanDeployment", "demo", "other")) == {"p1": 6}


def test_a_picture_that_is_not_newer_changes_nothing() -> None:
    cache = Cache()
    assert cache.put(pod(5)) == {TINY}
    assert cache.put(pod(5)) == set()
    assert cache.put(pod(4)) == set()


def test_a_list_removes_what_it_lacks_and_only_that() -> None:
    cache = Cache()
    cache.put(pod(5, uid="listed"))
    cache.put(pod(6, uid="vanished"))
    cache.put(pod(12, uid="younger"))  # created after the list was made
    cache.put(deployment(7))  # of another kind
    cache.put(pod(8, uid="elsewhere", namespace="prod"))
    assert cache.retain("Pod", "demo", {"listed"}, 10) == {TINY}
    assert set(versions(cache)) == {"listed", "younger"}
    assert cache.resource(TINY) is not None
    assert set(versions(cache, Key("HunyuanDeployment", "prod", "tiny"))) == {"elsewhere"}


def test_a_list_of_all_namespaces_looks_everywhere() -> None:
    cache = Cache()
    cache.put(pod(8, uid="elsewhere", namespace="prod"))
    assert cache.retain("Pod", "", set(), 10) == {Key("HunyuanDeployment", "prod", "tiny")}
    assert cache.owners() == []


def test_an_object_that_a_delete_found_gone_is_dropped_and_stays_so() -> None:
    cache = Cache()
    cache.put(pod(5))
    assert cache.discard("p1") == {TINY}
    assert cache.put(pod(5)) == set()
    assert cache.discard("p1") == set()


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (deployment(1), TINY),
        (fine_tune(1), CAR),
        (job(1), CAR),
        (pod(1), TINY),
        (pod(1, owner=""), None),
    ],
)
def test_the_key_is_that_of_the_owner(manifest: dict[str, Any], expected: Key | None) -> None:
    assert key_of(manifest) == expected


def test_memory_holds_only_what_a_reconcile_reads() -> None:
    heavy = pod(1)
    heavy["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    heavy["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}
    config = {"name": "config", "configMap": {"name": "tiny-config-1"}}
    heavy["spec"] = {
        "nodeName": "n1",
        "initContainers": [{"name": "preflight", "image": "registry.example/serve:1"}],
        "containers": [{"name": "runtime"}],
        "volumes": [config, {"name": "tmp"}],
    }
    slimmed = slim(heavy)
    assert slimmed["spec"] == {"nodeName": "n1", "initContainers": [{"name": "preflight"}], "volumes": [config]}
    assert "managedFields" not in slimmed["metadata"]
    assert slimmed["metadata"]["annotations"] == {"kept": "yes"}
    assert slimmed["status"] == heavy["status"]
    assert "containers" in heavy["spec"], "the original is left as it was"


def test_a_config_maps_data_is_not_kept() -> None:
    metadata = {"namespace": "demo", "name": "c", "uid": "c1", "resourceVersion": "1"}
    assert "data" not in slim({"kind": "ConfigMap", "metadata": metadata, "data": {"config.json": "{}"}})


def test_of_a_job_all_but_the_pods_template_is_kept() -> None:
    spec = {"completions": 2, "suspend": False}
    status = {"active": 2}
    slimmed = slim(job(1, spec={**spec, "template": {"spec": {}}}, status=status))
    assert (slimmed["spec"], slimmed["status"]) == (spec, status)
