"""Gangs, topology, products, claims and budgets: what pods bear, which objects come and go, and what is told."""

from typing import Any

import pytest
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.finetune import HunyuanFineTune
from hunyuan_operator.plan.revision import revision_of, stage_revision

from hunyuan_runtime.train_config import Stage
from tests.unit.operator.fake_cluster import FakeCluster, Object, deployment
from tests.unit.operator.fake_training import FakeTraining, fine_tune

GROUPS = {
    "volcano": "scheduling.volcano.sh/v1beta1",
    "coscheduling": "scheduling.x-k8s.io/v1alpha1",
    "workload": "scheduling.k8s.io/v1beta1",
}
SPECS = {
    "volcano": {"minMember": 2, "priorityClassName": "high"},
    "coscheduling": {"minMember": 2},
    "workload": {
        "schedulingPolicy": {"gang": {"minCount": 2}},
        "disruptionMode": {"all": {}},
        "priorityClassName": "high",
    },
}


async def made(**scheduling: Any) -> FakeCluster:
    cluster = FakeCluster(subject=deployment(scheduling=scheduling))
    await cluster.settle()
    return cluster


def pod_group(cluster: FakeCluster | FakeTraining, name: str) -> Object | None:
    return cluster.objects.get(("PodGroup", name))


@pytest.mark.parametrize("provider", GROUPS)
async def test_a_gang_is_there_before_its_pods_and_belongs_to_the_deployment(provider: str) -> None:
    cluster = await made(gang={"provider": provider}, priorityClassName="high")
    group = pod_group(cluster, "tiny-g0-1")
    assert group is not None
    assert group["apiVersion"] == GROUPS[provider]
    assert group["spec"] == SPECS[provider]
    assert group["metadata"]["ownerReferences"][0]["uid"] == "uid-of-tiny"
    order = [write for write in cluster.writes if write.startswith(("create Pod ", "create PodGroup "))]
    assert order == ["create PodGroup tiny-g0-1", "create Pod tiny-g0-1-0", "create Pod tiny-g0-1-1"]


async def test_pods_say_which_gang_is_theirs() -> None:
    for provider, spec in {"volcano": "volcano", "coscheduling": "scheduler-plugins-scheduler"}.items():
        pod = (await made(gang={"provider": provider})).pod("tiny-g0-1-1")
        assert pod["spec"]["schedulerName"] == spec
    volcano = (await made(gang={"provider": "volcano"})).pod("tiny-g0-1-1")
    assert volcano["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == "tiny-g0-1"
    peers = (await made(gang={"provider": "coscheduling"})).pod("tiny-g0-1-1")
    assert peers["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] == "tiny-g0-1"
    own = (await made(gang={"provider": "workload"})).pod("tiny-g0-1-1")
    assert own["spec"]["schedulingGroup"] == {"podGroupName": "tiny-g0-1"}
    assert "schedulerName" not in own["spec"]


async def test_kueue_needs_labels_alone_and_packs_by_itself() -> None:
    cluster = await made(gang={"provider": "kueue", "queue": "gpus"}, topologyKey="example.com/rack")
    pod = cluster.pod("tiny-g0-1-0")
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/pod-group-name"] == "tiny-g0-1"
    kueue = {key: value for key, value in pod["metadata"]["annotations"].items() if key.startswith("kueue")}
    assert kueue == {
        "kueue.x-k8s.io/pod-group-total-count": "2",
        "kueue.x-k8s.io/retriable-in-group": "false",
        "kueue.x-k8s.io/podset-required-topology": "example.com/rack",
    }
    assert set(pod["spec"]["affinity"]) == {"podAntiAffinity"}
    assert pod_group(cluster, "tiny-g0-1") is None


async def test_the_next_attempt_is_a_gang_of_its_own_and_the_last_ones_goes_with_its_pods() -> None:
    cluster = FakeCluster(subject=deployment(scheduling={"gang": {"provider": "volcano"}}))
    await cluster.serve()
    cluster.end("tiny-g0-1-1", 1)
    await cluster.settle()
    assert pod_group(cluster, "tiny-g0-1") is None
    cluster.let_go()
    cluster.advance(60)
    await cluster.settle()
    assert pod_group(cluster, "tiny-g0-2") is not None


async def test_the_gang_of_a_provider_that_was_left_goes_too() -> None:
    cluster = FakeCluster(subject=deployment(scheduling={"gang": {"provider": "volcano"}}))
    await cluster.serve()
    cluster.change(scheduling={})
    await cluster.settle()
    assert pod_group(cluster, "tiny-g0-1") is None


async def test_a_provider_that_is_not_installed_is_told_and_no_pod_is_made() -> None:
    cluster = FakeCluster(subject=deployment(scheduling={"gang": {"provider": "volcano"}}))
    cluster.not_served = {GROUPS["volcano"]}
    await cluster.settle()
    assert cluster.condition("Stalled") == ("True", "GangUnavailable")
    assert cluster.message("Degraded") == (
        "spec.scheduling.gang.provider: PodGroup of scheduling.volcano.sh/v1beta1 is not installed"
    )
    assert not cluster.pods
    cluster.not_served = set()
    await cluster.settle()
    assert len(cluster.pods) == 2


async def test_a_foreign_gang_of_that_name_is_neither_used_nor_deleted() -> None:
    cluster = FakeCluster(subject=deployment(scheduling={"gang": {"provider": "volcano"}}))
    foreign = {"kind": "PodGroup", "apiVersion": GROUPS["volcano"], "metadata": {"name": "tiny-g0-1", "uid": "other"}}
    cluster.objects["PodGroup", "tiny-g0-1"] = foreign
    await cluster.settle()
    assert cluster.condition("Degraded") == ("True", "NameConflict")
    assert not cluster.pods
    assert pod_group(cluster, "tiny-g0-1") == foreign


async def test_topology_and_products_are_required_affinities() -> None:
    affinity = (await made(topologyKey="example.com/rack", gpuProducts=["H20"])).pod("tiny-g0-1-0")["spec"]["affinity"]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    [together] = affinity["podAffinity"][required]
    [apart] = affinity["podAntiAffinity"][required]
    assert together["topologyKey"] == "example.com/rack"
    assert together["labelSelector"] == apart["labelSelector"]
    [term] = affinity["nodeAffinity"][required]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["H20"]}]


async def test_gpus_are_claimed_instead_of_counted() -> None:
    cluster = FakeCluster(subject=deployment(gpus={"perNode": 1, "resourceClaimTemplate": "one-gpu"}))
    await cluster.settle()
    spec = cluster.pod("tiny-g0-1-0")["spec"]
    assert spec["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": "one-gpu"}]
    for container in (*spec["containers"], *spec["initContainers"]):
        assert container["resources"]["claims"] == [{"name": "gpus"}]
        assert "nvidia.com/gpu" not in container["resources"]["requests"]


async def test_each_group_has_a_budget_that_goes_with_it() -> None:
    cluster = FakeCluster(subject=deployment(groups=2, scheduling={"disruption": {"budget": True}}))
    await cluster.settle()
    budget = cluster.objects["PodDisruptionBudget", "tiny-g1"]
    assert budget["spec"] == {
        "minAvailable": 2,
        "selector": {"matchLabels": {"hunyuan.dev/deployment": "tiny", "hunyuan.dev/group": "1"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    pods = cluster.pods
    cluster.change(scheduling={})
    await cluster.settle()
    assert ("PodDisruptionBudget", "tiny-g1") not in cluster.objects
    assert cluster.pods == pods


async def test_a_fine_tunes_job_is_kueues_by_its_label_alone() -> None:
    cluster = FakeTraining(subject=fine_tune(scheduling={"gang": {"provider": "kueue", "queue": "gpus"}}))
    await cluster.until(Stage.TRAIN)
    job = cluster.objects["Job", cluster.jobs[-1]]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    template = job["spec"]["template"]["metadata"]
    assert not [key for key in (*template["labels"], *template["annotations"]) if key.startswith("kueue")]


async def test_a_fine_tunes_job_has_its_gang_and_its_budget() -> None:
    scheduling = {"gang": {"provider": "workload"}, "disruption": {"budget": True}}
    cluster = FakeTraining(subject=fine_tune(scheduling=scheduling))
    await cluster.until(Stage.TRAIN)
    name = cluster.jobs[-1]
    assert pod_group(cluster, name) is not None
    template = cluster.objects["Job", name]["spec"]["template"]
    assert template["spec"]["schedulingGroup"] == {"podGroupName": name}
    [budget] = [one for kind, one in cluster.objects if kind == "PodDisruptionBudget"]
    assert budget.endswith("-training")


def test_revisions_of_before_these_fields_stay() -> None:
    """Written down: a change of these hashes restarts every group that serves, on an upgrade of the operator."""
    spec = HunyuanDeployment.parse(deployment()).spec
    assert revision_of(spec, "serve:1") == REVISION
    assert revision_of(
        HunyuanDeployment.parse(deployment(scheduling={"disruption": {"budget": True}})).spec, "serve:1"
    ) == (REVISION)
    assert stage_revision(HunyuanFineTune.parse(fine_tune()).spec, Stage.TRAIN) == STAGE_REVISION


REVISION, STAGE_REVISION = "194eb44042", "1a9ac05604"
