"""The ConfigMap with the group's :class:`ServeConfig`."""

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.build.fetch import hub_source
from hunyuan_operator.build.metadata import Object, digest_of, metadata, with_hash
from hunyuan_operator.plan.topology import Topology
from hunyuan_runtime.config import CONFIG_PATH, MODEL_ROOT, NetworkConfig, ServeConfig


def serve_config(deployment: HunyuanDeployment, topology: Topology) -> ServeConfig:
    spec = deployment.spec
    source = spec.model.pvc or spec.model.image
    hub = hub_source(spec.model.hugging_face) if spec.model.hugging_face else None
    return ServeConfig(
        model_path=str(hub.snapshot if hub else MODEL_ROOT / (source.path if source else "")),
        hub=hub,
        served_name=spec.model.served_name or deployment.name,
        quantization=spec.quantization,
        max_model_len=spec.max_model_len,
        nodes=topology.nodes,
        gpus_per_node=topology.gpus_per_node,
        tensor_parallel=topology.tensor_parallel,
        pipeline_parallel=topology.pipeline_parallel,
        max_num_seqs=spec.engine.max_num_seqs,
        gpu_memory_utilization=spec.engine.gpu_memory_utilization,
        kv_cache_dtype=spec.engine.kv_cache_dtype,
        extra_args=spec.engine.extra_args,
        network=NetworkConfig(
            interface=spec.network.interface,
            rdma=spec.network.rdma is not None,
            min_bits_per_second=spec.network.preflight.min_bits_per_second,
            max_latency_ms=spec.network.preflight.max_latency_milliseconds,
        ),
    )


def config_map(deployment: HunyuanDeployment, topology: Topology) -> Object:
    """Named by its content and immutable: a running pod's file never changes under it."""
    config = serve_config(deployment, topology)
    text = config.model_dump_json(indent=2, exclude=None if config.hub else {"hub"})
    return with_hash(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(deployment, names.config_map_name(deployment.name, digest_of(text))),
            "immutable": True,
            "data": {CONFIG_PATH.name: text},
        }
    )
