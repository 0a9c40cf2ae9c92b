"""From a spec to a layout that fits the GPUs, or to the reason why none does and the smallest change that helps.

Without ``spec.parallelism`` it is the first of :func:`candidates` that splits the model evenly and fits: the fewest
GPUs. All depends on the spec alone, so that the same spec means the same layout on every pass and after every restart
of the operator.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hunyuan_operator.api.deployment import HunyuanDeploymentSpec, Parallelism
from hunyuan_operator.errors import DoesNotFit, InvalidTopology, Unplannable
from hunyuan_operator.plan.memory import BLOCK, Demand, GpuMemory, memory_on
from hunyuan_operator.plan.topology import Topology, candidates, even_split, lay_out, unevenness
from hunyuan_runtime.config import Quantization

_ON_THE_SAME_GPUS: tuple[Quantization, ...] = ("int8", "fp8")


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    topology: Topology
    memory: GpuMemory


@dataclass(frozen=True, kw_only=True)
class Change:
    """A spec that fits, and what is other in it, in words."""

    spec: HunyuanDeploymentSpec
    text: str


def plan_serving(spec: HunyuanDeploymentSpec) -> ServingPlan:
    """Lay out one group and see that it fits.

    Raises:
        InvalidTopology: the ranks don't divide over the nodes, or the model doesn't over the ranks.
        DoesNotFit: the GPUs have too little memory.

    """
    plan = _lay_out(spec)
    if not plan.memory.fits:
        ways = [change.text for change in changes_that_fit(spec)]
        raise DoesNotFit(f"{_numbers(spec, plan)}. {_advice(spec, ways)}")
    return plan


def changes_that_fit(spec: HunyuanDeploymentSpec) -> list[Change]:
    """Changes of one field that make a spec fit which doesn't: the smallest first, larger GPUs for want of others."""
    plan = _lay_out(spec)
    found = [*_shorter(spec, plan), *_more_gpus(spec, plan), *_smaller_weights(spec)]
    return found or list(_larger_gpus(spec))


def _lay_out(spec: HunyuanDeploymentSpec) -> ServingPlan:
    """Whether it fits or not."""
    demand = Demand.of(spec)
    if spec.parallelism is None:
        return _derive(demand, spec.gpus.per_node)
    topology = lay_out(spec.parallelism, spec.gpus.per_node)
    if objection := unevenness(demand.architecture, demand.quantization, spec.parallelism):
        raise InvalidTopology(f"{objection}: {_other_split(demand, topology, spec.gpus.per_node)}")
    return ServingPlan(topology=topology, memory=memory_on(demand, topology))


def _derive(demand: Demand, per_node: int) -> ServingPlan:
    """The smallest layout that fits, or the largest there is."""
    plan, objections = None, []
    for topology in candidates(per_node):
        if objection := unevenness(demand.architecture, demand.quantization, _split(topology)):
            objections.append(objection)
            continue
        plan = ServingPlan(topology=topology, memory=memory_on(demand, topology))
        if plan.memory.fits:
            return plan
    if plan is None:
        raise InvalidTopology(f"no number of ranks splits the model evenly: {objections[0]}")
    return plan


def _split(topology: Topology) -> Parallelism:
    return Parallelism(tensor=topology.tensor_parallel, pipeline=topology.pipeline_parallel)


def _other_split(demand: Demand, topology: Topology, per_node: int) -> str:
    split = even_split(demand.architecture, demand.quantization, topology.ranks, per_node)
    if split is None:
        return "remove spec.parallelism to let the operator derive it"
    return f"set spec.parallelism to {_words(split)}, which takes as many GPUs"


def _shorter(spec: HunyuanDeploymentSpec, plan: ServingPlan) -> Iterator[Change]:
    tokens = plan.memory.kv_tokens
    if tokens >= BLOCK:
        yield Change(spec=spec.model_copy(update={"max_model_len": tokens}), text=f"spec.maxModelLen {tokens}")


def _more_gpus(spec: HunyuanDeploymentSpec, plan: ServingPlan) -> Iterator[Change]:
    """One, the fewest; left to the operator where they don't divide over nodes of ``perNode`` GPUs."""
    larger = (_split(each) for each in candidates(spec.gpus.per_node) if each.ranks > plan.topology.ranks)
    for split in [*larger, None]:
        changed = spec.model_copy(update={"parallelism": split})
        if fitting := _fitting(changed):
            layout = fitting.topology
            what = f"spec.parallelism {_words(split)}" if split else "no spec.parallelism"
            where = f"{layout.ranks} GPUs on {layout.nodes} {'nodes' if layout.nodes > 1 else 'node'}"
            text = f"{what} ({where}, {_gb(fitting.memory.weights)} of weights each)"
            yield Change(spec=changed, text=text)
            return


def _smaller_weights(spec: HunyuanDeploymentSpec) -> Iterator[Change]:
    for quantization in _ON_THE_SAME_GPUS:
        changed = spec.model_copy(update={"quantization": quantization})
        if spec.quantization != quantization and (fitting := _fitting(changed)):
            on = f"{_gb(fitting.memory.weights)} of weights on each of {fitting.topology.ranks} GPUs"
            yield Change(spec=changed, text=f"spec.quantization {quantization} ({on})")


def _larger_gpus(spec: HunyuanDeploymentSpec) -> Iterator[Change]:
    """In whole GiB, by halving: a larger GPU holds whatever a smaller one does."""
    least, enough = spec.gpus.memory_bytes // 2**30, 1 << 20
    while least + 1 < enough:
        middle = (least + enough) // 2
        least, enough = (least, middle) if _fitting(_with_memory(spec, middle)) else (middle, enough)
    changed = _with_memory(spec, enough)
    if _fitting(changed):
        yield Change(spec=changed, text=f"GPUs with spec.gpus.memory {enough}Gi")


def _with_memory(spec: HunyuanDeploymentSpec, gibibytes: int) -> HunyuanDeploymentSpec:
    return spec.model_copy(update={"gpus": spec.gpus.model_copy(update={"memory": f"{gibibytes}Gi"})})


def _fitting(spec: HunyuanDeploymentSpec) -> ServingPlan | None:
    try:
        plan = _lay_out(spec)
    except Unplannable:
        return None
    return plan if plan.memory.fits else None


def _numbers(spec: HunyuanDeploymentSpec, plan: ServingPlan) -> str:
    layout, memory = plan.topology, plan.memory
    return (
        f"{spec.quantization} on {layout.ranks} GPUs of {spec.gpus.memory} ({_words(_split(layout))}) does not fit: of "
        f"the {_gb(memory.usable)} that the engine may use of a GPU, weights take {_gb(memory.weights)}, activations "
        f"and the runtime {_gb(memory.activations + memory.reserve)}; that leaves room for {memory.kv_tokens} tokens "
        f"of KV cache, and a request of spec.maxModelLen has {memory.max_model_len}"
    )


def _advice(spec: HunyuanDeploymentSpec, ways: list[str]) -> str:
    advice = f"Smallest change that fits: {', or '.join(ways)}" if ways else "No single change makes it fit"
    if spec.model.architecture is None:
        advice += ". All this is for Hunyuan-Large; spec.model.architecture tells of a checkpoint of another shape"
    return advice


def _words(split: Parallelism) -> str:
    return f"{{tensor: {split.tensor}, pipeline: {split.pipeline}}}"


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
