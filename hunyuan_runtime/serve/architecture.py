"""Do the weights belong to a Hunyuan-Large of this config.json? Names and shapes are compared, no weight is read.

Imports torch and transformers: for the process that needs them anyway, before the engine spends minutes on loading.
"""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from hunyuan_runtime.checkpoint.headers import weight_files
from hunyuan_runtime.checkpoint.reader import meta_tensors
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.checkpoint import read_json
from hunyuan_runtime.serve.engine_weights import checked
from hunyuan_runtime.termination import Cause, RuntimeFailure


def check_architecture(folder: Path) -> None:
    """Raise ``CheckpointInvalid`` naming the file and the field or tensor that doesn't fit."""
    config_file = folder / "config.json"
    try:
        config = HunYuanConfig.from_dict(read_json(config_file))
    except (TypeError, ValueError) as error:
        raise RuntimeFailure(Cause.CheckpointInvalid, f"{config_file} is refused: {error}") from error
    reading = folder

    def tensors() -> Iterator[tuple[str, Tensor]]:
        nonlocal reading
        for reading in weight_files(folder)[0]:
            yield from meta_tensors(reading, config)
        reading = folder  # what is missing is missing in all of them

    try:
        for _ in checked(tensors(), config):
            pass
    except ValueError as error:
        raise RuntimeFailure(Cause.CheckpointInvalid, f"{reading} doesn't fit its config.json: {error}") from error
