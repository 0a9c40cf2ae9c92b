"""``hunyuan merge``: one line or one JSON object, and one line for what is refused."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hunyuan_cli.main import main

from hunyuan_runtime.train.merge import run
from tests.unit.quantize.checkpoints import make_source
from tests.unit.train_after.models import ATTENTION, config_of, lora_of
from tests.unit.train_after.zero_files import write_checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Base, output of the stage, and its digest."""
    root = tmp_path_factory.mktemp("made")
    base = make_source(root / "base")
    write_checkpoint(root / "out", [lora_of(base, ATTENTION)[0]])
    return base, root / "out", run(config_of(base, root / "out"), lambda _: None).digest


def merge(*args: object) -> Result:
    return CliRunner().invoke(main, ["merge", *map(str, args)])


def test_it_makes_what_the_stage_makes(made: tuple[Path, Path, str], tmp_path: Path) -> None:
    base, output, digest = made
    said = merge("--base", base, "--adapter", output / "adapter", tmp_path / "out", "--json")
    told = json.loads(said.stdout)
    size = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))
    assert (told["path"], told["made"], told["digest"]) == (str(tmp_path / "out"), True, digest)
    assert 0 < told["bytes"] < size
    assert "Writing weights" in said.stderr
    again = merge("--base", base, "--adapter", output / "adapter", tmp_path / "out")
    assert "is there already" in again.stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"peft_type": "LOHA"}, "peft_type 'LOHA'"),
        ({"use_dora": True}, "use_dora True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save ['lm_head']"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    change: dict[str, object], why: str, made: tuple[Path, Path, str], tmp_path: Path
) -> None:
    base, output, _ = made
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = json.loads((output / "adapter/adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | change))
    said = merge("--base", base, "--adapter", adapter, tmp_path / "out")
    assert said.exit_code == 2
    assert why in said.stderr
    assert not (tmp_path / "out").exists()


def test_a_result_of_another_dtype_is_left_alone(made: tuple[Path, Path, str]) -> None:
    base, output, _ = made
    said = merge("--base", base, "--adapter", output / "adapter", output / "merged", "--dtype", "fp32")
    assert said.exit_code == 2
    assert "another training, base or dtype" in said.stderr
