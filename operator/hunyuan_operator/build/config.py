"""The ConfigMap with the group's :class:`ServeConfig`."""

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.sources import BaseModelSource
from hunyuan_operator.api.workload import Network
from hunyuan_operator.build.fetch import hub_source
from hunyuan_operator.build.metadata import Object, config_map, digest_of
from hunyuan_operator.plan.topology import Topology
from hunyuan_runtime.config import MODEL_ROOT, NetworkConfig, ServeConfig


def serve_config(deployment: HunyuanDeployment, topology: Topology) -> ServeConfig:
    spec = deployment.spec
    return ServeConfig(
        model_path=model_path(spec.model),
        hub=hub_source(spec.model.hugging_face) if spec.model.hugging_face else None,
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
        network=network_config(spec.network),
    )


def model_path(model: BaseModelSource) -> str:
    """The checkpoint's absolute folder in the pod."""
    if model.hugging_face:
        return str(hub_source(model.hugging_face).snapshot)
    source = model.pvc or model.image
    return str(MODEL_ROOT / (source.path if source else ""))


def network_config(network: Network) -> NetworkConfig:
    return NetworkConfig(
        interface=network.interface,
        rdma=network.rdma is not None,
        min_bits_per_second=network.preflight.min_bits_per_second,
        max_latency_ms=network.preflight.max_latency_milliseconds,
    )


def serve_config_map(deployment: HunyuanDeployment, topology: Topology) -> Object:
    config = serve_config(deployment, topology)
    text = config.model_dump_json(indent=2, exclude=None if config.hub else {"hub"})
    return config_map(deployment, names.config_map_name(deployment.name, digest_of(text)), text)
