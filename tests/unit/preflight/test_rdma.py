"""What NCCL is told of RDMA devices, from trees as sysfs shows them."""

from pathlib import Path

import pytest

from hunyuan_runtime.preflight.rdma import environment, rdma_ports

V4 = "0000:0000:0000:0000:0000:ffff:0a00:0007"
V6 = "fe80:0000:0000:0000:526b:4bff:fe12:3456"
EMPTY = "0000:0000:0000:0000:0000:0000:0000:0000"
GIDS = [(V6, "IB/RoCE v1"), (V6, "RoCE v2"), (V4, "IB/RoCE v1"), (V4, "RoCE v2")]
"""As a Mellanox card has them for one address of each family."""

Gids = list[tuple[str, str]]


class Node:
    """A machine's /sys and /dev; a device that isn't ``given`` belongs to another pod."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.dev = folder / "sys", folder / "dev"
        self._count = 0

    def add(
        self,
        name: str,
        gids: Gids | None = None,
        *,
        state: str = "4: ACTIVE",
        link: str = "Ethernet",
        given: bool = True,
    ) -> None:
        verbs = self.sys / "class/infiniband_verbs" / f"uverbs{self._count}"
        port = self.sys / "class/infiniband" / name / "ports/1"
        _write(verbs / "ibdev", name)
        _write(port / "state", state)
        _write(port / "link_layer", link)
        for index, (address, kind) in enumerate(gids if gids is not None else GIDS):
            _write(port / "gids" / str(index), address)
            _write(port / "gid_attrs/types" / str(index), kind)
        if given:
            _write(self.dev / "infiniband" / verbs.name, "")
        self._count += 1

    def environment(self) -> dict[str, str]:
        return environment(rdma_ports(self.sys, self.dev))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_machine_without_rdma_sets_nothing(node: Node) -> None:
    assert node.environment() == {}


def test_roce_v2_with_an_ipv4_address_is_preferred(node: Node) -> None:
    node.add("mlx5_0")
    assert node.environment() == {"NCCL_IB_HCA": "=mlx5_0:1", "NCCL_IB_GID_INDEX": "3"}


def test_without_an_ipv4_address_another_roce_v2_one_is_taken(node: Node) -> None:
    node.add("mlx5_0", GIDS[:2])
    assert node.environment()["NCCL_IB_GID_INDEX"] == "1"


def test_infiniband_needs_no_index(node: Node) -> None:
    node.add("mlx5_0", [(V6, "IB/RoCE v1")], link="InfiniBand")
    assert node.environment() == {"NCCL_IB_HCA": "=mlx5_0:1"}


def test_only_devices_that_the_pod_was_given_count(node: Node) -> None:
    for index in range(8):
        node.add(f"mlx5_{index}", given=index in {2, 5})
    assert node.environment()["NCCL_IB_HCA"] == "=mlx5_2:1,mlx5_5:1"


@pytest.mark.parametrize("state", ["1: DOWN", "2: INIT", "3: ARMED", "5: ACTIVE_DEFER"])
def test_a_port_that_is_not_active_is_left_out(node: Node, state: str) -> None:
    node.add("mlx5_0", state=state)
    assert node.environment() == {}


def test_roce_without_v2_is_left_out(node: Node) -> None:
    node.add("mlx5_0", [(V4, "IB/RoCE v1"), (EMPTY, "RoCE v2")])
    assert node.environment() == {}


def test_the_index_means_the_same_on_every_device(node: Node) -> None:
    node.add("mlx5_0", [*GIDS, (V4, "RoCE v2")])
    node.add("mlx5_1", [*GIDS[:3], (EMPTY, ""), (V4, "RoCE v2")])
    assert node.environment()["NCCL_IB_GID_INDEX"] == "4"


def test_where_no_index_means_the_same_nccl_chooses(node: Node) -> None:
    node.add("mlx5_0", [(V4, "RoCE v2"), (V4, "IB/RoCE v1")])
    node.add("mlx5_1", [(V4, "IB/RoCE v1"), (V4, "RoCE v2")])
    assert node.environment() == {"NCCL_IB_HCA": "=mlx5_0:1,mlx5_1:1"}


def test_an_entry_that_the_kernel_refuses_to_read_is_no_address(node: Node) -> None:
    node.add("mlx5_0")
    unused = node.sys / "class/infiniband/mlx5_0/ports/1/gid_attrs/types/9"
    unused.mkdir()  # reading it raises OSError, as an unused entry of the real table does
    assert node.environment()["NCCL_IB_GID_INDEX"] == "3"
