"""What every runtime pod promises, for any spec."""

from typing import Any

import pytest
from hunyuan_operator.api import names
from hunyuan_operator.cluster.cache import slim
from hunyuan_operator.observe.pod import pod_of

from hunyuan_runtime.config import CONFIG_PATH, MODEL_ROOT, RAY_TOKEN_PATH, Rank, ServeConfig
from tests.unit.operator.fake_cluster import ARCHITECTURE, FakeCluster, Object, deployment

SPECS: dict[str, dict[str, Any]] = {
    "two pods": {},
    "one pod": {"gpus": {"perNode": 2}},
    "image volume": {"model": {"image": {"reference": "registry.example/model:1"}, "architecture": ARCHITECTURE}},
    "sixteen ranks": {"gpus": {"perNode": 8}, "parallelism": {"tensor": 8, "pipeline": 2}},
}


@pytest.fixture(params=SPECS.values(), ids=list(SPECS))
async def cluster(request: pytest.FixtureRequest) -> FakeCluster:
    cluster = FakeCluster(subject=deployment(**request.param))
    await cluster.settle()
    return cluster


@pytest.fixture
def pods(cluster: FakeCluster) -> list[Object]:
    return [cluster.pod(name) for name in cluster.pods]


def test_it_satisfies_pod_security_restricted(pods: list[Object]) -> None:
    for pod in pods:
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "image"}


def test_it_holds_no_credentials_but_the_ray_token_as_a_file(pods: list[Object]) -> None:
    for pod in pods:
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["serviceAccountName"] == "tiny"
        assert not any("secretKeyRef" in str(variable) for variable in container["env"])
        (secret,) = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
        assert secret == {"secretName": "tiny-ray-token", "defaultMode": 0o440}


def test_its_files_are_where_the_runtime_looks(pods: list[Object]) -> None:
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        for path in (CONFIG_PATH.parent, RAY_TOKEN_PATH.parent, MODEL_ROOT):
            assert mounts[str(path)]["readOnly"] is True
        assert {"/tmp", "/dev/shm"} == {path for path, mount in mounts.items() if not mount.get("readOnly")}
        assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_it_is_told_its_rank_and_finds_its_leader_by_name(pods: list[Object]) -> None:
    for index, pod in enumerate(pods):
        (container,) = pod["spec"]["containers"]
        env = {one["name"]: one.get("value", "10.0.0.1") for one in container["env"]}
        leader = pods[0]["spec"]
        assert Rank.from_env(env).index == index
        assert env["HUNYUAN_LEADER"] == f"{leader['hostname']}.{leader['subdomain']}"


def test_its_gpus_are_its_ranks_and_the_config_says_the_same(cluster: FakeCluster, pods: list[Object]) -> None:
    (config_map,) = [o for (kind, _), o in cluster.objects.items() if kind == "ConfigMap"]
    config = ServeConfig.model_validate_json(config_map["data"][CONFIG_PATH.name])
    assert config.nodes == len(pods)
    assert config.nodes * config.gpus_per_node == config.tensor_parallel * config.pipeline_parallel
    for pod in pods:
        resources = pod["spec"]["containers"][0]["resources"]
        for part in ("requests", "limits"):
            assert resources[part]["nvidia.com/gpu"] == str(config.gpus_per_node)
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_pods_of_one_attempt_land_on_nodes_of_their_own(pods: list[Object]) -> None:
    for pod in pods:
        if len(pods) == 1:
            assert "affinity" not in pod["spec"]
            continue
        (term,) = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        wanted = term["labelSelector"]["matchLabels"].items()
        assert all(wanted <= other["metadata"]["labels"].items() for other in pods)


def test_services_find_their_pods(cluster: FakeCluster, pods: list[Object]) -> None:
    door, ranks = cluster.objects["Service", "tiny"]["spec"], cluster.objects["Service", "tiny-pods"]["spec"]

    def selected(service: Object) -> list[str]:
        chosen = service["selector"].items()
        return [p["metadata"]["labels"][names.RANK] for p in pods if chosen <= p["metadata"]["labels"].items()]

    assert selected(door) == ["0"]
    assert selected(ranks) == [str(rank) for rank in range(len(pods))]
    ports = {port["name"] for port in pods[0]["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in (*door["ports"], *ranks["ports"])} <= ports
    assert (ranks["clusterIP"], ranks["publishNotReadyAddresses"]) == ("None", True)


def test_everything_is_owned_by_the_deployment(cluster: FakeCluster) -> None:
    for manifest in cluster.objects.values():
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("uid-of-tiny", True)
        assert manifest["metadata"]["labels"][names.DEPLOYMENT] == "tiny"


def test_what_the_cache_keeps_of_it_is_all_that_is_read(cluster: FakeCluster) -> None:
    cluster.start_fetching()
    for name in cluster.pods:
        pod = cluster.pod(name)
        assert pod_of(pod) is not None
        assert pod_of(slim(pod)) == pod_of(pod)
