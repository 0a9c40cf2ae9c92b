"""NetworkVerified: what the pods' preflight found."""

from collections.abc import Iterable

from hunyuan_operator.api.deployment import HunyuanDeployment
from hunyuan_operator.api.reasons import Reason
from hunyuan_operator.api.status import RestartMemory
from hunyuan_operator.build.preflight import is_checked
from hunyuan_operator.observe.pod import Pod
from hunyuan_operator.plan.deployment import DeploymentPlan
from hunyuan_operator.status.verdict import Verdict, no, unknown, worst, yes
from hunyuan_runtime.config import NetworkReport
from hunyuan_runtime.termination import Cause

_FAILURES = {cause.name for cause in (Cause.NetworkFailed, Cause.NetworkSlow, Cause.NetworkDeviceMissing)}


def network_verified(deployment: HunyuanDeployment, plan: DeploymentPlan) -> Verdict | None:
    """None where nothing is to be checked: one pod a group, or no preflight."""
    if plan.topology is None or not is_checked(deployment.spec.network, plan.topology.nodes):
        return None
    each = [network_of(f"group {group.memory.index}", group.memory, group.pods) for group in plan.wanted]
    return worst(each) if each else no(Reason.PODS_PENDING)


def network_of(what: str, memory: RestartMemory, pods: Iterable[Pod]) -> Verdict:
    """``what`` names the group or the stage."""
    leader = next((pod for pod in pods if pod.rank == 0), None)
    if memory.retry_at and memory.reason in _FAILURES:
        return no(memory.reason, f"{what}: {memory.message}")
    if memory.retry_at or leader is None:
        return unknown(Reason.PODS_PENDING, f"{what}: waits for its pods")
    if leader.network:
        return yes(Reason.LINKS_VERIFIED, f"{what}: {_numbers(leader.network)}")
    if not leader.checked:
        return unknown(Reason.NOT_VERIFIED, f"{what}: was started without preflight")
    return unknown(Reason.PREFLIGHT_RUNNING, f"{what}: checks its links, or waits for all of its pods")


def _numbers(report: NetworkReport) -> str:
    links = "1 link" if report.links == 1 else f"{report.links} links"
    text = f"{links} over {report.interface}: at least {report.bits_per_second / 1e9:.3g} Gbit/s ({report.slowest})"
    text += f", at most {report.latency_ms:.3g} ms a round trip"
    if report.rdma:
        text += f"; RDMA by {', '.join(report.rdma)}"
    if report.all_reduce_bits_per_second:
        text += f"; all-reduce {report.all_reduce_bits_per_second / 1e9:.3g} Gbit/s"
    return text
