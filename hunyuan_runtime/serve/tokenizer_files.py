"""The folder from which the engine loads its tokenizer: the model's own, or one converted from hy.tiktoken at start."""

from pathlib import Path

from hunyuan_runtime.serve.checkpoint import read_json
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.tokenizer import TokenizerError, convert
from hunyuan_runtime.tokenizer.convert import SOURCE


def prepare_tokenizer(folder: Path, scratch: Path) -> Path:
    """The model's volume is read-only, so a conversion goes to ``scratch``; no code of the checkpoint is ever run.

    Raises:
        RuntimeFailure: ``TokenizerInvalid`` names the file.

    """
    if (folder / "tokenizer.json").is_file():
        _check(folder)
        return folder
    if not (folder / SOURCE).is_file():
        raise RuntimeFailure(Cause.TokenizerInvalid, f"{folder} holds neither tokenizer.json nor {SOURCE}")
    try:
        return convert(folder, scratch)
    except TokenizerError as error:
        raise RuntimeFailure(Cause.TokenizerInvalid, str(error)) from error


def _check(folder: Path) -> None:
    from tokenizers import Tokenizer  # noqa: PLC0415 - a native library that only the leader needs

    path = folder / "tokenizer.json"
    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise RuntimeFailure(Cause.TokenizerInvalid, f"{path} is not a tokenizer: {error}") from error
    config = read_json(folder / "tokenizer_config.json", Cause.TokenizerInvalid)
    if "chat_template" not in config and not (folder / "chat_template.jinja").is_file():
        raise RuntimeFailure(
            Cause.TokenizerInvalid,
            f"{folder / 'tokenizer_config.json'} has no chat_template; convert the tokenizer again",
        )
