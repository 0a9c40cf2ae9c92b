"""What the test bed writes for its components, and reads of the machine, as tables."""

import io
import json
import stat
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.cluster import archive, binaries, cgroups, credentials, host, mounts, network, node_configs
from tests.cluster.fake_nodes import manifest
from tests.cluster.nodes import Node
from tests.cluster.testbed import NODES

GO_MOD = "module x\n\nrequire k8s.io/kubernetes v1.37.2\n\nrequire k8s.io/kubernetes/other v9.9.9\n"


def test_no_two_nodes_share_what_must_be_a_nodes_own() -> None:
    for own in ("name", "folder", "images", "address", "pods", "cgroup", "network", "mounts"):
        assert len({getattr(node, own) for node in NODES}) == len(NODES), own


def test_every_node_has_a_user_of_its_own() -> None:
    for node in NODES:
        assert credentials.USERS[node.name] == (f"system:node:{node.name}", "system:nodes")


def test_containerd_takes_the_given_pause_image() -> None:
    config = tomllib.loads(node_configs.containerd("localhost/pause:abc"))
    assert config["plugins"]["io.containerd.grpc.v1.cri"]["sandbox_image"] == "localhost/pause:abc"


def test_a_kubelet_manages_only_its_own_cgroup_and_keeps_images() -> None:
    config = yaml.safe_load(node_configs.kubelet(Node(2)))
    assert config["cgroupRoot"] == "/hunyuan-node2"
    assert config["imageGCHighThresholdPercent"] == 100


def test_a_pods_addresses_are_its_nodes() -> None:
    [cable, _] = json.loads(node_configs.pod_network(Node(1)))["plugins"]
    assert cable["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]


@pytest.mark.parametrize(
    ("route", "collides"),
    [
        ({"dst": "default", "dev": "eth0"}, False),
        ({"dst": "192.168.0.0/16", "dev": "eth0"}, False),
        ({"dst": "172.30.0.0/24", "dev": network.BRIDGE}, False),
        ({"dst": "172.16.0.0/12", "dev": "docker0"}, True),
        ({"dst": "10.244.1.7", "dev": "wg0"}, True),
        ({"dst": "10.0.0.0/8", "type": "blackhole"}, True),
    ],
)
def test_routes_of_others_into_our_networks_are_collisions(route: dict[str, str], collides: bool) -> None:
    assert bool(network.collisions([route])) is collides


def test_tokens_give_each_user_their_group() -> None:
    table = credentials.token_table({"admin": "t1", "kube-proxy": "t2"})
    assert table == 't1,admin,1,"system:masters"\nt2,system:kube-proxy,2\n'


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    credentials.write_private(tmp_path / "secret", "x")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_hierarchies_of_both_cgroup_versions_are_found() -> None:
    mountinfo = (
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:4 - cgroup cgroup rw,cpu\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    )
    assert cgroups.hierarchies(mountinfo) == [
        (Path("/sys/fs/cgroup/cpu"), False),
        (Path("/sys/fs/cgroup/unified"), True),
    ]


def test_mount_points_with_blanks_are_read_as_they_are() -> None:
    assert mounts.mount_points("1 2 0:1 / /a\\040b rw - tmpfs tmpfs rw\n") == {"/a b"}


def test_the_machine_gets_its_settings_and_folders_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that were there, or that somebody has put something into since, stay."""
    monkeypatch.setattr(host, "_MEMORY", tmp_path / "memory.json")
    monkeypatch.setattr(host, "KERNEL_SETTINGS", ())
    (tmp_path / "there").mkdir()
    host.remember([tmp_path / "there", tmp_path / "made/deep", tmp_path / "used"])
    host.remember([tmp_path / "later"])
    (tmp_path / "used/file").touch()
    host.restore()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory.json", "there", "used"]


def test_kubernetes_version_is_the_modules() -> None:
    assert binaries.kubernetes_version(GO_MOD) == "v1.37.2"
    with pytest.raises(ValueError, match=r"does not require k8s\.io/kubernetes"):
        binaries.kubernetes_version("module x\n")


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26)), ("go version go1.27rc1 linux/arm64", (1, 27)), ("", None)],
)
def test_gos_version_is_read(text: str, version: tuple[int, int] | None) -> None:
    assert binaries.parse_go_version(text) == version


@pytest.mark.parametrize("name", binaries.SOURCES)
def test_any_changed_source_is_another_folder_of_programs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = binaries.folder()
    for source in binaries.SOURCES:
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text((binaries.TOOLS / source).read_text())
    monkeypatch.setattr(binaries, "TOOLS", tmp_path)
    assert binaries.folder() == before
    with (tmp_path / name).open("a") as file:
        file.write("\n// changed\n")
    assert binaries.folder() != before


def test_complete_programs_are_never_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "CACHE", tmp_path)
    monkeypatch.setattr(binaries, "_build", lambda target, progress: pytest.fail("built"))
    binaries.folder().mkdir(parents=True)
    assert binaries.ensure(print) == binaries.folder()


def test_an_interrupted_build_leaves_nothing_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(target: Path, progress: object) -> None:
        (target / "kubelet").touch()
        raise RuntimeError("go build failed")

    monkeypatch.setattr(binaries, "CACHE", tmp_path)
    monkeypatch.setattr(binaries, "_build", fails)
    with pytest.raises(RuntimeError, match="go build failed"):
        binaries.ensure(print)
    assert list((tmp_path / "bin").iterdir()) == []


def test_a_program_becomes_an_image_with_it_as_entry_point(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    archive.write(tmp_path / "one.tar", program, "localhost/pause:1")
    with tarfile.open(tmp_path / "one.tar") as outer:
        [image] = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
        config = json.load(outer.extractfile(image["Config"]))  # type: ignore[arg-type]
        layer = outer.extractfile(image["Layers"][0]).read()  # type: ignore[union-attr]
    assert image["RepoTags"] == ["localhost/pause:1"]
    assert config["config"]["Entrypoint"] == ["/pause"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as inner:
        assert inner.getmember("pause").mode == 0o755


def test_the_same_program_gives_the_same_image(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    archive.write(tmp_path / "one.tar", program, "localhost/pause:1")
    program.touch()
    archive.write(tmp_path / "two.tar", program, "localhost/pause:1")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_fake_node_has_the_gpus_of_a_large_machine() -> None:
    node = manifest("fake0")
    assert node["status"]["capacity"]["nvidia.com/gpu"] == "8"  # type: ignore[index]  # plain YAML
