"""A fine-tune to vary."""

from typing import Any

from hunyuan_runtime.train_config import TrainConfig, TrainingConfig


def training(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"max_steps": 10, "save_steps": 5, "max_seq_length": 256, **changes})


def config(**changes: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "name": "car",
        "model_path": "/models/base",
        "data_path": "/data/car.jsonl",
        "output": "/output/car",
        "nodes": 2,
        "gpus_per_node": 4,
        "training": training(),
    }
    return TrainConfig(**{**base, **changes})
