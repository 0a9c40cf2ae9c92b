"""The ConfigMap with the fine-tune's :class:`TrainConfig`, which all its stages read."""

from hunyuan_operator.api import names
from hunyuan_operator.api.finetune import HunyuanFineTune, HunyuanFineTuneSpec
from hunyuan_operator.build.config import model_path, network_config
from hunyuan_operator.build.fetch import hub_source
from hunyuan_operator.build.metadata import Object, config_map, digest_of
from hunyuan_runtime.train_config import (
    DATA_ROOT,
    EVALUATION_ROOT,
    OUTPUT_ROOT,
    DeepSpeedConfig,
    LoraConfig,
    TrainConfig,
    TrainingConfig,
)


def train_config(fine_tune: HunyuanFineTune) -> TrainConfig:
    spec = fine_tune.spec
    return TrainConfig(
        name=fine_tune.name,
        model_path=model_path(spec.model),
        hub=hub_source(spec.model.hugging_face) if spec.model.hugging_face else None,
        data_path=str(DATA_ROOT / spec.data.pvc.path),
        evaluation_path=str(EVALUATION_ROOT / spec.evaluation.pvc.path) if spec.evaluation else "",
        output=str(OUTPUT_ROOT / spec.output.pvc.path),
        method=spec.method,
        lora=LoraConfig.model_validate(spec.lora.model_dump()) if spec.lora else LoraConfig(),
        nodes=spec.nodes,
        gpus_per_node=spec.gpus_per_node,
        deepspeed=_deepspeed(spec),
        training=TrainingConfig.model_validate(spec.training.model_dump()),
        keep_checkpoints=spec.checkpoints.keep,
        merge=spec.after.merge.enabled or spec.method != "lora",
        merge_dtype=spec.after.merge.dtype,
        quantize=spec.after.quantize,
        network=network_config(spec.network),
    )


def _deepspeed(spec: HunyuanFineTuneSpec) -> DeepSpeedConfig:
    told = spec.deepspeed.model_dump(include={"zero", "offload"}, exclude_none=True)
    return DeepSpeedConfig(**told, own=spec.deepspeed.config_map is not None)


def train_config_map(fine_tune: HunyuanFineTune) -> Object:
    text = train_config(fine_tune).model_dump_json(indent=2)
    return config_map(fine_tune, names.fine_tune_config_map_name(fine_tune.name, digest_of(text)), text)
