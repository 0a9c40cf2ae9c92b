"""What a machine lacks is said at once, in sentences that tell what to do."""

import os
import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.cluster import PrerequisitesMissing, prerequisites, testbed
from tests.cluster.__main__ import main
from tests.cluster.prerequisites import Facts, missing

FRESH = Facts(
    system="Linux", architecture="x86_64", uid=0, go=(1, 26), binaries_cached=False, images_cached=False, free_gb=100
)


def test_a_machine_that_has_all_lacks_nothing() -> None:
    assert missing(FRESH, nodes=2) == []


@pytest.mark.parametrize(
    ("facts", "what", "remedy"),
    [
        (replace(FRESH, system="Darwin", architecture="arm64"), "this is Darwin on arm64", "CLUSTER=existing"),
        (replace(FRESH, uid=1000), "Nodes need namespaces", "as root"),
        (replace(FRESH, go=None), "Go 1.26 or newer and here is no Go", "https://go.dev/dl/"),
        (replace(FRESH, go=(1, 19)), "here is Go 1.19", "https://go.dev/dl/"),
        (replace(FRESH, free_gb=30.4), "40 GB of disk are needed and 30 GB are free", "XDG_CACHE_HOME"),
        (replace(FRESH, absent=("runc", "buildah")), "Not installed: runc, buildah", "make packages"),
        (replace(FRESH, busy_ports=(6443,)), "listens on port 6443", "stop it"),
        (replace(FRESH, collisions=("10.0.0.0/8 on tun0",)), "10.0.0.0/8 on tun0", "remove them"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_lack_is_one_sentence_with_its_remedy(facts: Facts, what: str, remedy: str) -> None:
    [sentence] = missing(facts, nodes=2)
    assert what in sentence
    assert remedy in sentence


def test_all_lacks_are_told_at_once() -> None:
    assert len(missing(replace(FRESH, uid=1000, go=None, free_gb=1), nodes=2)) == 3


def test_elsewhere_than_on_linux_nothing_else_is_asked_for() -> None:
    assert len(missing(replace(FRESH, system="Darwin", uid=501, go=None, free_gb=1), nodes=2)) == 1


def test_cached_programs_need_no_go() -> None:
    assert missing(replace(FRESH, go=None, binaries_cached=True), nodes=2) == []


@pytest.mark.parametrize(
    ("binaries_cached", "images_cached", "nodes", "wanted_gb"),
    [(False, False, 2, 40), (True, False, 2, 32), (True, True, 2, 4), (False, False, 0, 9), (True, False, 0, 1)],
)
def test_the_disk_that_is_wanted_depends_on_what_is_cached(
    binaries_cached: bool, images_cached: bool, nodes: int, wanted_gb: int
) -> None:
    facts = replace(FRESH, binaries_cached=binaries_cached, images_cached=images_cached)
    assert prerequisites.disk_wanted(facts, nodes) == wanted_gb


def test_a_running_test_bed_is_not_in_its_own_way() -> None:
    assert missing(replace(FRESH, running=True, busy_ports=(6443,)), nodes=2) == []


def test_up_refuses_before_it_changes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ``up`` would do first goes through its lock, which must not even be taken."""
    monkeypatch.delenv("CLUSTER", raising=False)
    monkeypatch.setattr(prerequisites, "probe", lambda nodes: replace(FRESH, uid=1000))
    monkeypatch.setattr(testbed, "_lock", lambda: pytest.fail("went on"))
    with pytest.raises(PrerequisitesMissing, match="run it as root"):
        testbed.up(nodes=2)
    result = CliRunner().invoke(main, ["up"])
    assert result.exit_code == 2
    assert result.output == "Error: Nodes need namespaces and mounts: run it as root, or set CLUSTER=existing.\n"


def test_the_command_line_refuses_an_impossible_size() -> None:
    result = CliRunner().invoke(main, ["up", "--nodes", "3"])
    assert result.exit_code == 2
    assert "0<=x<=2" in result.output


def test_nothing_is_called_when_no_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "available", lambda program: True)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("called"))
    assert CliRunner().invoke(main, ["install-packages"]).output == ""


def test_missing_packages_that_cannot_be_installed_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "available", lambda program: program not in ("runc", "ip"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(main, ["install-packages"])
    assert result.exit_code == 2
    assert "the packages that are missing: iproute2 runc." in result.output


def test_a_cluster_of_ones_own_is_never_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "existing")
    monkeypatch.setattr(testbed, "_lock", lambda: pytest.fail("went on"))
    testbed.down()


def test_a_cluster_of_ones_own_asks_nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "existing")
    monkeypatch.setenv("OPERATOR_IMAGE", "registry.example/operator:1")
    monkeypatch.setattr(prerequisites, "probe", lambda nodes: pytest.fail("looked at the machine"))
    cluster = testbed.up()
    assert (cluster.models, cluster.kubeconfig, cluster.images.operator) == (None, None, "registry.example/operator:1")
    with pytest.raises(RuntimeError, match="not with CLUSTER=existing"):
        cluster.add_fake_nodes(1)
