"""``hunyuan plan``: the operator's answer without a cluster."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hunyuan_cli.main import main
from hunyuan_cli.plan import read_architecture
from hunyuan_operator.api.deployment import HunyuanDeployment

from hunyuan_runtime.tiny.model import config_for

EXAMPLES = Path(__file__).parents[3] / "examples"


def plan(resource: object, *options: str) -> Result:
    """``resource`` on stdin."""
    text = resource if isinstance(resource, str) else yaml.safe_dump(resource)
    return CliRunner().invoke(main, ["plan", "-f", "-", *options], input=text)


def hyd(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hunyuan.dev/v1alpha1",
        "kind": "HunyuanDeployment",
        "metadata": {"name": "hy"},
        "spec": {"model": {"pvc": {"claimName": "models"}}} | spec,
    }


DEPLOYMENTS = [path for path in sorted(EXAMPLES.glob("*.yaml")) if "kind: HunyuanDeployment\n" in path.read_text()]


@pytest.mark.parametrize("path", DEPLOYMENTS, ids=lambda path: path.stem)
def test_every_example_fits(path: Path) -> None:
    result = CliRunner().invoke(main, ["plan", "-f", str(path)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert ": fits. " in result.stdout


def test_a_plan_says_the_layout_the_bytes_and_the_speed() -> None:
    result = plan(hyd(quantization="fp8", engine={"kvCacheDtype": "fp8"}))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "hy: fits. fp8 on 8 GPUs, 1 x 8: tensor 8 x pipeline 1",
        "Model: 388.70 billion parameters, 51.32 active; 40,960 bytes of KV cache a token",
        "The fullest GPU, in GB:",
        "  usable          94.8",
        "  weights         48.7",
        "  activations      0.7",
        "  runtime          4.3",
        "  KV cache        41.2",
        "KV cache: 8,038,896 tokens at 5,120 bytes each on that GPU, 785.0 requests of 10,240 tokens",
        "At best on h20, at 2,048 tokens of context, in tokens/s: decode 609 in one stream, 1,452 in 8; prefill 23,044",
    ]


def test_json_has_the_same() -> None:
    result = plan(hyd(), "--json", "--gpu", "h200")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["fits"] is True
    assert found["topology"] == {
        "nodes": 2,
        "gpus_per_node": 8,
        "tensor_parallel": 8,
        "pipeline_parallel": 2,
        "gpus": 16,
    }
    assert found["model"]["kv_bytes_per_token"] == 81_920
    assert found["gpu"]["weights"] == 48_703_920_640
    assert found["max_concurrency"] == 785.31
    assert found["roofline"]["gpu"] == "h200"


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_what_does_not_fit_is_code_1_with_the_numbers_on_stderr(options: tuple[str, ...]) -> None:
    result = plan(hyd(parallelism={"tensor": 8}), *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("hunyuan: DoesNotFit: bf16 on 8 GPUs of 96Gi")
    assert "97.2 GB" in result.stderr
    assert "Smallest change that fits: spec.parallelism {tensor: 8, pipeline: 2}" in result.stderr
    if options:
        told = json.loads(result.stdout)
        assert (told["fits"], told["reason"]) == (False, "DoesNotFit")
        assert told["message"] in result.stderr
    else:
        assert result.stdout == ""


def test_ranks_that_split_nothing_evenly_are_code_1() -> None:
    result = plan(hyd(quantization="fp8", parallelism={"tensor": 16}, gpus={"perNode": 16}))
    assert result.exit_code == 1
    assert result.stderr.startswith("hunyuan: InvalidTopology: tensor 16 leaves 1144")


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        pytest.param("a: [", "not YAML: ", id="not YAML"),
        pytest.param("kind: Pod", "holds 0 resources of kind HunyuanDeployment", id="none"),
        pytest.param("kind: HunyuanDeployment\n---\nkind: HunyuanDeployment", "holds 2 resources", id="two"),
        pytest.param(hyd(quantization="int4"), "spec.quantization: Input should be", id="a wrong value"),
        pytest.param(hyd(gpus={"memory": "96 GB"}), "'96 GB' is not a quantity", id="not a quantity"),
        pytest.param(hyd(gpus={"memory": 0}), "spec.gpus.memory: must be positive", id="no memory"),
        pytest.param(hyd(paralelism={"tensor": 8}), "unknown field spec.paralelism", id="a misspelt field"),
        pytest.param(hyd(max_model_len=64), "unknown field spec.max_model_len", id="a name that only Python knows"),
    ],
)
def test_what_cannot_be_understood_is_one_line_and_code_2(resource: object, told: str) -> None:
    result = plan(resource)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_options_of_the_engine_and_labels_are_free() -> None:
    resource = hyd(engine={"extraArgs": {"seed": 7}}, scheduling={"nodeSelector": {"a": "b"}}, parallelism=None)
    assert plan(resource).exit_code == 0


def config_json(folder: Path, **changes: Any) -> Path:
    config = config_for(SimpleNamespace(bos_token_id=1, eos_token_id=2, pad_token_id=3)).to_dict()
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_the_architecture_comes_from_a_checkpoint_where_asked(tmp_path: Path) -> None:
    resource = hyd(parallelism={"tensor": 2}, gpus={"perNode": 2})
    assert plan(resource).exit_code == 1
    for path in (config_json(tmp_path), tmp_path / "config.json"):
        result = plan(resource, "--config", str(path))
        assert (result.exit_code, result.stderr) == (0, "")


def test_the_tiny_example_tells_the_tiny_models_shape(tmp_path: Path) -> None:
    [resource] = yaml.safe_load_all((EXAMPLES / "tiny-deployment.yaml").read_text())
    told = HunyuanDeployment.parse(resource).spec.model.architecture
    assert told is not None
    read = read_architecture(config_json(tmp_path))
    assert told == read.model_copy(update={"head_dim": told.head_dim})
    assert (told.head_width, told.kv_heads) == (read.head_width, read.kv_heads)


def test_blocks_are_read_from_the_quantisation(tmp_path: Path) -> None:
    config_json(tmp_path, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    assert read_architecture(tmp_path).weight_block_size == 128


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not a config.json"),
        ("[]", "not a config.json"),
        ("{}", "hidden_size: Field required"),
        ('{"quantization_config": 3}', "not a config.json"),
    ],
)
def test_a_config_that_is_none_is_code_2(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "config.json").write_text(text)
    result = plan(hyd(), "--config", str(tmp_path))
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_later_models_lists_are_refused_by_name(tmp_path: Path) -> None:
    result = plan(hyd(), "--config", str(config_json(tmp_path, moe_topk=[8, 8])))
    assert result.exit_code == 2
    assert "moe_topk: Input should be a valid integer" in result.stderr
