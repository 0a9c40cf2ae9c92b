"""What Ray is started with: fixed ports, the rank's own address, nothing that a NetworkPolicy couldn't know."""

from dataclasses import replace
from pathlib import Path

import pytest

from hunyuan_runtime.config import Port, Rank
from hunyuan_runtime.preflight.wiring import Wiring
from hunyuan_runtime.processes import Children
from hunyuan_runtime.serve.ray_node import Node, RayNode, environment, rank_of, rank_resource, start_command


def node(index: int) -> Node:
    return Node(
        rank=Rank(index=index, leader="tiny-g0-1-0.tiny-pods", pod_ip=f"10.0.0.{index}"),
        gpus=8,
        wiring=Wiring(pod_ip=f"10.0.0.{index}", interface="eth0", address=f"10.0.0.{index}"),
        token=Path("/token"),
        work=Path("/tmp/work"),
    )


def test_head_and_worker_take_their_roles() -> None:
    head, worker = start_command(node(0)), start_command(node(1))
    assert "--head" in head
    assert "--address=tiny-g0-1-0.tiny-pods:6379" in worker
    assert "--node-ip-address=10.0.0.1" in worker
    assert '--resources={"hunyuan-rank-1": 1}' in worker
    assert "--dashboard-host=127.0.0.1" in head
    for command in (head, worker):
        assert "--num-gpus=8" in command


def test_every_port_that_ray_listens_on_is_one_of_the_contract() -> None:
    ports = {int(Port.STATUS), int(Port.API), int(Port.PREFLIGHT)}
    for command in (start_command(node(0)), start_command(node(1))):
        options = dict(word.partition("=")[::2] for word in command)
        ports |= {int(value) for name, value in options.items() if name.endswith("port")}
    assert ports == {int(port) for port in Port}


def test_the_token_is_named_by_its_path_only() -> None:
    env = environment(node(0), {})
    assert env["RAY_AUTH_MODE"] == "token"
    assert env["RAY_AUTH_TOKEN_PATH"] == "/token"
    assert "RAY_AUTH_TOKEN" not in env


@pytest.mark.parametrize("variable", ["VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "RAY_AUTH_MODE"])
def test_network_and_token_are_not_the_images_to_choose(variable: str) -> None:
    assert environment(node(0), {variable: "other"})[variable] != "other"


def test_a_user_without_a_passwd_entry_has_a_name_and_a_home_that_can_be_written(tmp_path: Path) -> None:
    env = environment(node(0), {"HOME": "/nonexistent"})
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == ("hunyuan", "hunyuan", "/tmp/work")
    assert environment(node(0), {"HOME": str(tmp_path)})["HOME"] == str(tmp_path)


def test_a_rank_is_known_by_its_nodes_resource() -> None:
    assert rank_of({"CPU": 1, "GPU": 8, rank_resource(12): 1}) == 12
    assert rank_of({"CPU": 1}) is None


def test_a_broken_gpu_is_found_in_the_logs_of_its_workers(tmp_path: Path) -> None:
    ray_node = RayNode(replace(node(0), work=tmp_path), {}, Children())
    assert ray_node.gpu_fault() == ("", "")
    logs = tmp_path / "ray/session_1/logs"
    logs.mkdir(parents=True)
    (logs / "worker-a-1.err").write_text("all is well\n")
    (logs / "worker-b-2.err").write_text("(pid=3, ip=10.0.0.1)\nCUDA error: uncorrectable ECC error encountered\n")
    assert ray_node.gpu_fault() == ("uncorrectable ECC error encountered", "10.0.0.1")
