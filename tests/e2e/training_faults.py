"""The part of docs/faults.md on trainings, as :mod:`tests.e2e.fault_list` has the others."""

from tests.e2e.fault_list import STALLS, Fault

RESUMED = "the next attempt goes on from the last complete checkpoint"

TRAINING = (
    Fault(
        key="training-killed",
        fault="A rank's process is killed, or runs out of memory",
        detected="its pod ends; Kubernetes ends the others",
        within="15 s",
        action=RESUMED,
        status="`WorkerDied` or `OOMKilled`, the rank's",
        test="e2e/test_tuning_faults.py test_a_killed_rank",
    ),
    Fault(
        key="training-hung",
        fault="A rank hangs",
        detected="a collective operation takes longer than `collective_timeout_seconds`",
        within="2 min",
        action=RESUMED,
        status="`RankLost`, the one that was missed",
        test="engine/test_training.py test_a_silent_rank",
    ),
    Fault(
        key="training-cut",
        fault="A rank's link is cut, or its node is lost",
        detected="its status port is silent for 15 s; or its pod's toleration ends, some 80 s after its last sign",
        within="20 s",
        action=f"{RESUMED}, on other nodes; uncounted once the pod outlives its deletion",
        status="`RankUnreachable` or `RankLost`, the silent one; then `NodeLost`",
        test="e2e/test_tuning_faults.py test_a_lost_node",
    ),
    Fault(
        key="training-gpu",
        fault="A GPU or its links are broken",
        detected="CUDA's words in the step's error",
        within="at once",
        action=f"{RESUMED}, on other nodes",
        status="`GpuFault`, that of the GPU",
        test="unit/train/test_worker.py test_an_exception_has_a_cause",
    ),
    Fault(
        key="training-disrupted",
        fault="A pod is deleted, evicted, preempted, drained; its Job is deleted",
        detected="its deletion",
        within="at once",
        action=f"it saves within its 300 s, and so do the others; {RESUMED}; uncounted",
        status="`PodDeleted`, `Evicted`, `Preempted`",
        test="e2e/test_tuning_faults.py test_a_deleted_pod",
    ),
    Fault(
        key="training-disk",
        fault="A disk is full while a checkpoint is saved",
        detected="the write fails",
        within="at once",
        action=f"what was complete stays; {RESUMED}",
        status="`SaveFailed`, the rank's",
        test="e2e/test_tuning_faults.py test_a_full_disk",
    ),
    Fault(
        key="training-corrupt",
        fault="The newest checkpoint is damaged",
        detected="its manifest doesn't match",
        within="at the start",
        action="the one before is taken",
        status="–",
        test="e2e/test_tuning_faults.py test_a_corrupt_newest",
    ),
    Fault(
        key="training-read",
        fault="A volume or the hub fails while the model is read",
        detected="the system's error",
        within="at once",
        action=RESUMED,
        status="`ModelUnreadable`, `FetchFailed`",
        test="unit/operator/test_chaos.py test_any_story",
    ),
    Fault(
        key="training-input",
        fault="Data, base model or room are not what they must be",
        detected="the stage `check`, before a GPU is asked for",
        within="seconds",
        action=STALLS,
        status="`DataInvalid`, `ModelUnsupported`, …",
        test="e2e/test_tuning_refusals.py test_it_is_refused_with_its_reason",
    ),
)
