"""The test bed's images: what they are named by, and how a node is told of them."""

import hashlib
import io
import json
import shlex
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import base_image, buildah, handover, images
from tests.cluster.buildah import BuiltImage, Layer
from tests.stack import ROOT

LOWER = Layer(diff_id="sha256:" + "a" * 64, size=4000, folder=Path("/storage/overlay/lower/diff"))
UPPER = Layer(diff_id="sha256:" + "b" * 64, size=30, folder=Path("/storage/overlay/upper/diff"))
IMAGE = BuiltImage(config=b'{"os":"linux"}', layers=(LOWER, UPPER))


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class TestContentHash:
    """An image's tag: it changes exactly when something that the image is made of changes."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "code/inner").mkdir(parents=True)
        (tmp_path / "code/inner/a.py").write_text("a = 1\n")
        (tmp_path / "lock.txt").write_text("wheel==1\n")
        return tmp_path

    def hash(self, root: Path, *more: str) -> str:
        return images.content_hash(root, ("code", "lock.txt"), *more)

    def test_the_same_files_give_the_same_hash_wherever_they_lie(self, root: Path, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere"
        (moved / "code/inner").mkdir(parents=True)
        (moved / "code/inner/a.py").write_text("a = 1\n")
        (moved / "lock.txt").write_text("wheel==1\n")
        assert self.hash(moved) == self.hash(root)

    def test_a_changed_file_changes_it(self, root: Path) -> None:
        before = self.hash(root)
        (root / "code/inner/a.py").write_text("a = 2\n")
        assert self.hash(root) != before

    def test_a_moved_file_changes_it(self, root: Path) -> None:
        before = self.hash(root)
        (root / "code/inner/a.py").rename(root / "code/a.py")
        assert self.hash(root) != before

    def test_another_base_changes_it(self, root: Path) -> None:
        assert self.hash(root, "base:1") != self.hash(root, "base:2")

    def test_bytecode_does_not(self, root: Path) -> None:
        before = self.hash(root)
        (root / "code/__pycache__").mkdir()
        (root / "code/__pycache__/a.cpython-311.pyc").write_bytes(b"\0")
        assert self.hash(root) == before


@pytest.mark.parametrize("recipe", images.RECIPES, ids=lambda recipe: recipe.dockerfile)
class TestRecipes:
    def test_what_an_image_is_made_from_is_there(self, recipe: images.Recipe) -> None:
        assert [path for path in (*images.PROJECT, *recipe.dependencies) if not (ROOT / path).exists()] == []

    def test_every_file_that_the_dockerfile_copies_counts_for_the_tag(self, recipe: images.Recipe) -> None:
        counted = (*images.PROJECT, *recipe.dependencies)
        for line in (ROOT / recipe.dockerfile).read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.replace("${DEVICE}", recipe.device).split()[1:-1]:
                    assert source == "." or any(Path(source).is_relative_to(path) for path in counted), line

    def test_the_build_context_holds_it_and_names_all_that_it_holds(self, recipe: images.Recipe) -> None:
        patterns = (ROOT / ".dockerignore").read_text().splitlines()
        assert "*" in patterns
        kept = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
        for path in images.PROJECT:
            assert any(Path(path).match(pattern) for pattern in kept), path

    def test_the_base_has_what_the_dockerfile_would_install(self, recipe: images.Recipe) -> None:
        """So that the test bed's build needs no mirror of Debian's; ``gcc`` and its like are for the CUDA variant."""
        install = (ROOT / recipe.dockerfile).read_text()
        for package in ("python3", "python3-venv", *(["libnuma1"] if recipe.device == "cpu" else [])):
            assert package in install
            assert package in base_image.PACKAGES


class TestTrainingImage:
    def test_it_starts_with_the_serving_images_own_stages_so_that_a_builder_makes_them_once(self) -> None:
        def stages(recipe: images.Recipe) -> list[str]:
            text = (ROOT / recipe.dockerfile).read_text()
            return text[text.index("FROM ${BASE_IMAGE} AS system") :].split("\n\n")[:3]

        assert stages(images.TRAIN) == stages(images.SERVE)

    def test_its_dependencies_lie_on_the_serving_images(self) -> None:
        serve, train = images.names(images.SERVE, "base:1"), images.names(images.TRAIN, "base:1")
        assert train.arguments["SERVE_DEPENDENCIES"] == serve.dependencies
        assert train.arguments["BASE_IMAGE"] == "base:1"

    def test_another_serving_image_makes_it_another(self) -> None:
        first, second = images.names(images.TRAIN, "base:1"), images.names(images.TRAIN, "base:2")
        assert first.dependencies != second.dependencies
        assert first.reference != second.reference

    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    def test_its_lock_changes_nothing_that_the_serving_lock_holds(self, device: str) -> None:
        def entries(name: str) -> set[str]:
            lock = (ROOT / f"requirements/{name}-{device}.txt").read_text()
            return {line.split()[0] for line in lock.splitlines() if "==" in line}

        assert entries("serve") < entries("train")


def test_the_operators_lock_holds_no_engine() -> None:
    lock = (ROOT / "requirements/operator.txt").read_text()
    assert not [line for line in lock.splitlines() if line.startswith(("torch", "ray", "vllm", "transformers"))]


class TestBuildEnvironment:
    def test_an_index_and_proxies_of_the_machine_reach_the_build(self) -> None:
        env = {
            "UV_DEFAULT_INDEX": "https://mirror.example/a b",
            "HTTPS_PROXY": "http://proxy.example:3128",
            "HOME": "/x",
        }
        lines = dict(line.split("=", 1) for line in buildah.build_environment(env).splitlines())
        assert shlex.split(lines["UV_DEFAULT_INDEX"]) == ["https://mirror.example/a b"]
        assert lines["HTTPS_PROXY"] == "http://proxy.example:3128"
        assert "HOME" not in lines

    def test_certificates_are_those_mounted_into_the_step(self) -> None:
        lines = buildah.build_environment({"SSL_CERT_FILE": "/somewhere/of/the/machine.pem"}).splitlines()
        assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in lines


def test_only_other_tags_of_the_same_repositories_are_superseded() -> None:
    present = ["x/serve:1", "x/serve:2", "x/serve-dependencies:1", "x/base:1", "x/operator:1"]
    assert buildah.superseded(present, ["x/serve:2"]) == ["x/serve:1"]
    assert buildah.superseded(present, ["x/serve-dependencies:2", "x/serve:2"]) == [
        "x/serve-dependencies:1",
        "x/serve:1",
    ]


class TestMirror:
    def test_debian_comes_from_where_the_machine_gets_it(self) -> None:
        targets = "http://mirror.example/security bookworm-security\nhttp://mirror.example/debian bookworm\n"
        assert base_image.mirror(targets) == ["http://mirror.example/debian"]

    def test_a_machine_of_another_release_leaves_it_to_debootstrap(self) -> None:
        assert base_image.mirror("http://mirror.example/debian trixie\n") == []


class TestWhatANodeCanLose:
    CURRENT = ("localhost/hunyuan-serve:2", "localhost/hunyuan-serve:dev")
    PRESENT = {  # noqa: RUF012 - read only
        "localhost/hunyuan-serve:1": "sha256:one",
        "localhost/hunyuan-serve:2": "sha256:two",
        "localhost/hunyuan-serve:dev": "sha256:two",
        "localhost/pause:1": "sha256:pause",
        "sha256:config-of-zero": "sha256:zero",
        "sha256:config-of-one": "sha256:one",
        "sha256:config-of-two": "sha256:two",
        "sha256:config-of-pause": "sha256:pause",
    }

    def test_earlier_images_with_the_second_name_that_the_kubelets_side_gave_them(self) -> None:
        assert images.superseded(self.PRESENT, self.CURRENT, used=()) == [
            "localhost/hunyuan-serve:1",
            "sha256:config-of-one",
            "sha256:config-of-zero",
        ]

    @pytest.mark.parametrize("used", ["localhost/hunyuan-serve:1", "sha256:config-of-one"])
    def test_not_one_that_a_container_is_made_from_since_a_restart_needs_it(self, used: str) -> None:
        assert images.superseded(self.PRESENT, self.CURRENT, used=(used,)) == ["sha256:config-of-zero"]


class TestChainIds:
    def test_the_lowest_layer_is_named_by_itself_and_each_other_by_all_below_it(self) -> None:
        lower, middle = sha256(b"lower"), sha256(b"middle")
        upper = sha256(b"upper")
        second = sha256(f"{lower} {middle}".encode())
        assert handover.chain_ids([lower, middle, upper]) == [lower, second, sha256(f"{second} {upper}".encode())]

    def test_no_layers_no_names(self) -> None:
        assert handover.chain_ids([]) == []


class TestArchive:
    """What containerd imports: names, manifest and configuration, each found by its digest; no layer."""

    @pytest.fixture
    def files(self) -> dict[str, bytes]:
        content = handover.archive(IMAGE, ["localhost/x:1", "localhost/x:dev"])
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr] # all files

    def blob(self, files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
        content = files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert (sha256(content), len(content)) == (descriptor["digest"], descriptor["size"])
        return content

    def test_each_name_leads_to_the_configuration(self, files: dict[str, bytes]) -> None:
        entries = json.loads(files["index.json"])["manifests"]
        names = [entry["annotations"]["io.containerd.image.name"] for entry in entries]
        assert names == ["localhost/x:1", "localhost/x:dev"]
        for entry in entries:
            assert self.blob(files, json.loads(self.blob(files, entry))["config"]) == IMAGE.config

    def test_the_manifest_names_the_layers_from_the_lowest_up(self, files: dict[str, bytes]) -> None:
        manifest = json.loads(self.blob(files, json.loads(files["index.json"])["manifests"][0]))
        assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == [
            (LOWER.diff_id, 4000),
            (UPPER.diff_id, 30),
        ]

    def test_no_layer_is_in_it(self, files: dict[str, bytes]) -> None:
        assert len(files) == len(["oci-layout", "index.json", "manifest", "configuration"])


class TestSnapshotFolder:
    ROOT = Path("/cache/nodes/node1")

    def test_of_the_lowest_layer(self) -> None:
        mount = "mount -t bind /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs /x -o rw,rbind"
        folder = handover.snapshot_folder(mount, self.ROOT)
        assert folder == self.ROOT / "io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs"

    def test_of_a_layer_on_others(self) -> None:
        kind = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
        options = f"workdir={kind}/9/work,upperdir={kind}/9/fs,lowerdir={kind}/8/fs:{kind}/7/fs"
        folder = handover.snapshot_folder(f"mount -t overlay overlay /x -o {options}", self.ROOT)
        assert folder == self.ROOT / "io.containerd.snapshotter.v1.overlayfs/snapshots/9/fs"
