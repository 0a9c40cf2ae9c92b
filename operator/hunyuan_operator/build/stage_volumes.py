"""The volumes of a stage's pods, and where they are mounted."""

from dataclasses import dataclass

from hunyuan_operator.api.finetune import HunyuanFineTuneSpec
from hunyuan_operator.build.fetch import token_volumes
from hunyuan_operator.build.metadata import Object
from hunyuan_operator.build.parts import CONFIG_MOUNT, MODEL_MOUNT, image_volume
from hunyuan_runtime.config import CONFIG_PATH, MODEL_ROOT
from hunyuan_runtime.train_config import DATA_ROOT, DEEPSPEED_PATH, EVALUATION_ROOT, OUTPUT_ROOT


@dataclass(frozen=True, kw_only=True)
class Volumes:
    volumes: list[Object]
    mounts: list[Object]


@dataclass(frozen=True, kw_only=True)
class _Use:
    """Of a claim, for one end."""

    name: str
    claim: str
    path: str
    written: bool = False


def stage_volumes(spec: HunyuanFineTuneSpec, config_map: str) -> Volumes:
    """A claim that serves several ends is one volume with several mounts: kubelets don't mount one twice in a pod.

    It goes by its first end, ``model`` before all, which is the name that the fetch knows.
    """
    hub, image = spec.model.hugging_face, spec.model.image
    uses = list(_uses(spec))
    volume_names: dict[str, str] = {}
    for use in uses:
        volume_names.setdefault(use.claim, use.name)
    written = {use.claim for use in uses if use.written}
    return Volumes(
        volumes=[
            _config(spec, config_map),
            *([image_volume(image, spec.runtime.image_pull_policy)] if image else []),
            *(_claim(name, claim, read_only=claim not in written) for claim, name in volume_names.items()),
            *(token_volumes(hub) if hub else []),
        ],
        mounts=[
            CONFIG_MOUNT,
            MODEL_MOUNT,
            *(
                {"name": volume_names[use.claim], "mountPath": use.path, **({} if use.name == "output" else _READ_ONLY)}
                for use in uses
                if use.name != "model"
            ),
        ],
    )


_READ_ONLY = {"readOnly": True}


def _uses(spec: HunyuanFineTuneSpec) -> list[_Use]:
    """The model's cache is written by the fetch, and only there."""
    uses = []
    if spec.model.pvc:
        uses.append(_Use(name="model", claim=spec.model.pvc.claim_name, path=str(MODEL_ROOT)))
    if spec.model.hugging_face:
        cache = spec.model.hugging_face.cache.claim_name
        uses.append(_Use(name="model", claim=cache, path=str(MODEL_ROOT), written=True))
    uses.append(_Use(name="data", claim=spec.data.pvc.claim_name, path=str(DATA_ROOT)))
    if spec.evaluation:
        uses.append(_Use(name="evaluation", claim=spec.evaluation.pvc.claim_name, path=str(EVALUATION_ROOT)))
    uses.append(_Use(name="output", claim=spec.output.pvc.claim_name, path=str(OUTPUT_ROOT), written=True))
    return uses


def _claim(name: str, claim: str, *, read_only: bool) -> Object:
    return {"name": name, "persistentVolumeClaim": {"claimName": claim, **(_READ_ONLY if read_only else {})}}


def _config(spec: HunyuanFineTuneSpec, config_map: str) -> Object:
    """With a DeepSpeed configuration of the user's own, if any, as a file in a folder beside."""
    own = spec.deepspeed.config_map
    if own is None:
        return {"name": "config", "configMap": {"name": config_map}}
    path = str(DEEPSPEED_PATH.relative_to(CONFIG_PATH.parent))
    sources = [{"name": config_map}, {"name": own.name, "items": [{"key": own.key, "path": path}]}]
    return {"name": "config", "projected": {"sources": [{"configMap": source} for source in sources]}}
