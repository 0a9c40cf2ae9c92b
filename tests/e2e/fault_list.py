"""The faults of groups, and of both kinds of resource, that docs/faults.md promises something about, in its order."""

from dataclasses import dataclass

AGAIN = "all of the group anew, on the same nodes if they are free"
ELSEWHERE = "all of the group anew, on other nodes; the node is avoided for an hour"
WAITS = "waits, and asks again; no restart is burnt"
STALLS = "nothing, until someone helps; the GPUs are free"
RUNNING = "those that the group was answering"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``key`` is under which a test records what it measured; ``within`` the bound that the code keeps."""

    key: str
    fault: str
    detected: str
    within: str
    action: str
    status: str
    lost: str = "–"
    test: str


SERVING = (
    Fault(
        key="killed",
        fault="An engine process is killed, or runs out of memory",
        detected="Ray tells the driver which died by itself (a single rank's leader sees it end); that pod ends first",
        within="10 s",
        action=AGAIN,
        status="`WorkerDied`, the rank's; `OOMKilled` or `Signalled`, if its pod's main process is what was killed",
        lost=RUNNING,
        test="e2e/test_faults.py test_a_killed_rank",
    ),
    Fault(
        key="hung",
        fault="An engine process hangs (SIGSTOP)",
        detected="the canary gets no token, no counter moves, and the rank's agent finds a stopped process",
        within="10 s",
        action=AGAIN,
        status="`RankHung`, the rank's",
        lost=RUNNING,
        test="e2e/test_faults.py test_a_rank_that_hangs",
    ),
    Fault(
        key="cut",
        fault="A node's link is cut",
        detected="as above, but the rank's agent doesn't answer, so the leader names it; or it lost its leader",
        within="10 s",
        action=ELSEWHERE,
        status="`RankUnreachable` or `LeaderLost`, that of the node",
        lost=RUNNING,
        test="e2e/test_faults.py test_a_rank_whose_link_is_cut",
    ),
    Fault(
        key="gpu",
        fault="A GPU has an uncorrectable memory error, a broken NVLink, or is lost (most XIDs)",
        detected="CUDA's or NVML's words in the log of the engine or of a rank",
        within="10 s",
        action=ELSEWHERE,
        status="`GpuFault`, that of the GPU",
        lost=RUNNING,
        test="unit/serve/test_members.py test_a_broken_gpu",
    ),
    Fault(
        key="standstill",
        fault="The engine stands still, and nothing speaks against any rank",
        detected="no token and no movement for 60 s",
        within="70 s",
        action=AGAIN,
        status="`EngineFailed`, the leader's",
        lost=RUNNING,
        test="unit/serve/test_verdict.py test_an_engine_is_dead_when",
    ),
    Fault(
        key="ray",
        fault="Ray's own processes end",
        detected="the rank finds them gone",
        within="5 s",
        action=AGAIN,
        status="`RayFailed`, the rank's",
        lost=RUNNING,
        test="unit/serve/test_members.py test_rays_death_is_rays",
    ),
    Fault(
        key="node-lost",
        fault="A node is lost, its pod never ends",
        detected="as a cut link; then the pod outlives its deletion",
        within="10 s; the next attempt begins 60 s later",
        action=ELSEWHERE,
        status="`RankUnreachable`, `LeaderLost` or `NodeLost`, that of the node",
        lost=RUNNING,
        test="unit/operator/test_nodes.py test_so_is_a_node_whose_pod_outlives_its_deletion",
    ),
    Fault(
        key="busy",
        fault="A long prefill, a full queue, a slow agent",
        detected="it is no fault: something moves",
        within="–",
        action="none",
        status="–",
        lost="none",
        test="unit/serve/test_verdict.py test_an_engine_lives_when",
    ),
    Fault(
        key="client-left",
        fault="A client leaves in the middle of a stream",
        detected="its connection breaks",
        within="3 s",
        action="its request is cancelled, its cache freed",
        status="–",
        lost="its own",
        test="e2e/test_faults.py test_a_client_that_leaves",
    ),
    Fault(
        key="scaled-down",
        fault="A group is scaled down, or replaced",
        detected="asked for",
        within="up to 10 min of drain",
        action="the leader answers what it has accepted, then goes",
        status="`Stopping`, `RollingOut`; no failure",
        lost="none",
        test="e2e/test_faults.py test_scaling_down_under_load",
    ),
    Fault(
        key="disrupted",
        fault="A pod is deleted, evicted, preempted",
        detected="its deletion, or its condition DisruptionTarget",
        within="at once",
        action="the leader answers what it has accepted; then all of the group anew; uncounted",
        status="`PodDeleted`, `Evicted`, `Preempted`",
        lost="none, where the leader's pod is the one, or all ranks live on",
        test="unit/operator/test_failures.py test_a_deleted_pod_restarts_the_group",
    ),
)

STARTING = (
    Fault(
        key="never-joins",
        fault="A rank never joins Ray",
        detected="the leader counts, and the rank gives up",
        within="10 min (`join_timeout_seconds`)",
        action=AGAIN,
        status="`RanksMissing`, the missing rank's, or `LeaderUnreachable`; uncounted where its pod never ran",
        test="unit/serve/test_members.py test_ranks_that_stay_away",
    ),
    Fault(
        key="hung-start",
        fault="A rank hangs before the ranks have met: gloo and NCCL wait for it",
        detected="its agent finds a stopped process",
        within="15 s",
        action=AGAIN,
        status="`RankHung`, the rank's",
        test="engine/test_runtime.py test_a_start_that_hangs",
    ),
    Fault(
        key="cut-start",
        fault="A link is cut while the model loads",
        detected="the rank's agent doesn't answer",
        within="35 s",
        action=ELSEWHERE,
        status="`RankUnreachable`, the rank's",
        test="unit/serve/test_verdict.py test_an_engine_is_dead_when",
    ),
    Fault(
        key="slow-start",
        fault="The engine never answers",
        detected="its own deadline",
        within="1 h (`start_timeout_seconds`)",
        action=AGAIN,
        status="`EngineFailed`, the leader's",
        test="unit/serve/test_members.py test_a_start_that_takes_too_long",
    ),
    Fault(
        key="no-device",
        fault="A pod lacks the interface or the RDMA device that `spec.network` names",
        detected="its own [preflight](serving.md#the-network-between-the-pods), before anything loads",
        within="60 s",
        action=ELSEWHERE,
        status="`NetworkDeviceMissing`, that pod's",
        test="e2e/test_network.py test_a_missing_interface",
    ),
    Fault(
        key="dns",
        fault="A DNS record is missing, or points elsewhere",
        detected="the preflight asks for every name from every pod",
        within="60 s",
        action=ELSEWHERE,
        status="`NetworkFailed`, the pod whose name it is",
        test="e2e/test_network.py test_a_broken_dns_record",
    ),
    Fault(
        key="dropped port",
        fault="A port between the pods is dropped, or a node can't be reached",
        detected="the preflight connects every pod to every other, on every port",
        within="60 s",
        action=ELSEWHERE,
        status="`NetworkFailed`, the pod that most bad links have in common",
        test="e2e/test_network.py test_a_bad_link",
    ),
    Fault(
        key="delay",
        fault="A link is delayed",
        detected="the preflight measures every pair in both directions",
        within="60 s",
        action=ELSEWHERE,
        status="`NetworkSlow`, likewise",
        test="e2e/test_network.py test_a_bad_link",
    ),
    Fault(
        key="throttle",
        fault="A link is throttled",
        detected="likewise",
        within="60 s",
        action=ELSEWHERE,
        status="`NetworkSlow`, likewise",
        test="e2e/test_network.py test_a_bad_link",
    ),
    Fault(
        key="bad-model",
        fault="The model can't be loaded",
        detected="checked before anything slow",
        within="seconds",
        action=STALLS,
        status="[how a rank ends](serving.md#how-a-rank-ends)",
        test="e2e/test_bad_input.py test_a_model_that_cannot_be_loaded",
    ),
    Fault(
        key="no-start",
        fault="A container can't be started, or its runtime fails without a word",
        detected="its exit code",
        within="at once",
        action=AGAIN,
        status="`StartError`, `Exited` or `Unexpected`, the pod's",
        test="unit/operator/test_end.py test_a_container_that_ended_tells_why",
    ),
    Fault(
        key="image",
        fault="An image can't be pulled; a container can't be made",
        detected="the kubelet says so",
        within="at once",
        action=WAITS,
        status="`ImagePullFailed`, `ContainerConfigError`",
        test="unit/operator/test_obstacles.py test_a_container_that_cannot_be_made",
    ),
    Fault(
        key="unschedulable",
        fault="No node has room",
        detected="the scheduler says so",
        within="at once",
        action=f"{WAITS}; after 2 min nodes that are avoided are allowed again",
        status="`Unschedulable`, with the scheduler's words and the nodes that are avoided",
        test="unit/operator/test_nodes.py test_pods_that_find_no_other_node",
    ),
    Fault(
        key="refused",
        fault="A quota, Pod Security, a LimitRange, a webhook, or a missing permission refuses a pod",
        detected="the API server's answer",
        within="at once",
        action=WAITS,
        status="`QuotaExceeded`, `AdmissionRefused`, `Forbidden`, `PodInvalid`, with its words",
        test="unit/operator/test_obstacles.py test_a_refused_pod",
    ),
)

ALL_KINDS = (
    Fault(
        key="repeated",
        fault="The same failure three times in a row, with no ten minutes of answering or new checkpoint in between",
        detected="reason, exit code and message, without numbers and names",
        within="at the third",
        action=STALLS,
        status="`RepeatedFailure`, with what, how often, since when",
        test="unit/operator/test_repeats.py test_the_third_of_the_same",
    ),
    Fault(
        key="limit",
        fault="More than `restart.limit` failures within `restart.window`",
        detected="counted",
        within="at once",
        action="waits until the window frees, or someone helps",
        status="`RestartLimitReached`",
        test="unit/operator/test_failures.py test_too_many_failures",
    ),
    Fault(
        key="operator",
        fault="The operator is killed, at any write, or is not there",
        detected="its successor reads status and pods",
        within="15 s (its Lease)",
        action="goes on where it was; what runs runs on",
        status="the same as without",
        lost="none",
        test="apiserver/test_crash.py test_an_operator_that_dies_at_every_write",
    ),
)
