"""The command says in one line what is wrong, and leaves nothing behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from hunyuan_cli.main import main


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "it holds no config.json"),
        ('{"model_type": "llama"}', "this runtime serves 'hunyuan'"),
        ('{"model_type": "hunyuan", "quantization_config": {}}', "is quantised already"),
        ('{"model_type": "hunyuan"}', "holds neither model*.safetensors nor pytorch_model*.bin"),
    ],
)
def test_what_is_no_checkpoint_to_quantise_is_refused_in_a_line(config: str | None, words: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if config is not None:
        (source / "config.json").write_text(config)
    result = CliRunner().invoke(main, ["quantize", str(source), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
