"""Every reason that a condition, a failure or an Event can carry, with what it means and what to do about it.

A failure may also carry a reason of the runtime's own: the names of :class:`hunyuan_runtime.termination.Cause`.
"""

from enum import StrEnum


class _Documented(StrEnum):
    """Members are written as ``(value, sentence)``."""

    doc: str

    def __new__(cls, value: str, doc: str) -> "_Documented":
        member = str.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        return member


class ConditionType(_Documented):
    """The conditions, in the order in which they are listed."""

    READY = "Ready", "Every wanted group answers requests. Of a fine-tune: its result is complete and can be used."
    PROGRESSING = "Progressing", "Groups are being started, replaced or removed. Of a fine-tune: a stage is under way."
    DEGRADED = "Degraded", "Something keeps the resource from being as the spec asks for."
    SCHEDULED = "Scheduled", "Every pod has a node."
    NETWORK_VERIFIED = (
        "NetworkVerified",
        "The pods of every group, or of a training, reach each other, fast enough. Only where there are several pods, "
        "and with preflight.",
    )
    RAY_READY = "RayReady", "All ranks of every group have joined its Ray cluster."
    MODEL_LOADED = "ModelLoaded", "The engine of every group holds the model."
    SERVING = "Serving", "The API of every group answers."
    DATA_VALIDATED = "DataValidated", "The whole of the data was read, and a training can use it."
    TRAINED = "Trained", "All steps are done and saved."
    MERGED = "Merged", "What was trained is complete, in folders that any loader takes."
    QUANTIZED = "Quantized", "The quantised model is complete. Only with spec.after.quantize."
    EVALUATED = "Evaluated", "The result was evaluated on the held-out file. Only with spec.evaluation."
    RECONCILING = "Reconciling", "Present and true only while work is under way (kstatus)."
    STALLED = "Stalled", "Present and true only while no progress can be expected without help (kstatus)."


class Reason(_Documented):
    """Reasons of conditions."""

    ALL_GROUPS_READY = "AllGroupsReady", "Every wanted group is ready."
    GROUPS_NOT_READY = "GroupsNotReady", "At least one wanted group is not ready yet."
    SUSPENDED = "Suspended", "spec.suspend is true: there are no pods. Set it to false to start them."
    SCALED_TO_ZERO = "ScaledToZero", "spec.groups is 0: there are no pods. Scale up to start them."
    STARTING = "Starting", "A group's attempt is on its way to serving."
    STAGE_RUNNING = "StageRunning", "An attempt of a fine-tune's stage is under way; the message says how far it is."
    STAGE_WAITING = "StageWaiting", "A fine-tune's stage has not begun: an earlier one comes first."
    STAGE_SUCCEEDED = "StageSucceeded", "A fine-tune's stage is done; the message has its figures."
    STAGE_FAILED = "StageFailed", "The last attempt of a fine-tune's stage failed; the message says why."
    NOT_COMPLETE = "NotComplete", "At least one stage of the fine-tune is not done."
    COMPLETE = "Complete", "All stages of the fine-tune are done."
    FINE_TUNE_NOT_FOUND = (
        "FineTuneNotFound",
        "There is no HunyuanFineTune of the name in spec.model.fineTune. Create it.",
    )
    FINE_TUNE_NOT_READY = (
        "FineTuneNotReady",
        "The HunyuanFineTune in spec.model.fineTune has no result yet; the message says how far it is. No pod is "
        "created, and running ones are left alone.",
    )
    ROLLING_OUT = "RollingOut", "Groups of an earlier revision are being replaced, one at a time."
    STOPPING = "Stopping", "Pods are being deleted."
    BACK_OFF = "BackOff", "A group or a stage failed and waits before its next attempt."
    UP_TO_DATE = "UpToDate", "There is nothing to do."
    NO_FAILURE = "NoFailure", "Nothing is wrong."
    RESTART_LIMIT_REACHED = (
        "RestartLimitReached",
        "A group or a stage failed more than spec.restart.limit times within spec.restart.window. It is tried again "
        "when the window frees, or at once when the spec or the annotation hunyuan.dev/retry changes.",
    )
    REPEATED_FAILURE = (
        "RepeatedFailure",
        "A group or a stage failed three times in a row in the same way; the message says how. It is tried again when "
        "the spec changes, or, once the cause is gone, when the annotation hunyuan.dev/retry gets another value.",
    )
    INVALID_SPEC = "InvalidSpec", "The object can't be understood; the message names the field. Correct it."
    INVALID_TOPOLOGY = "InvalidTopology", "The ranks can't be laid out on nodes as asked; the message has a way out."
    DOES_NOT_FIT = (
        "DoesNotFit",
        "Weights and KV cache need more memory than the GPUs have; the message has the numbers and the smallest change "
        "that fits. `hunyuan plan` says the same offline.",
    )
    NAME_CONFLICT = "NameConflict", "An object with a name that is needed here belongs to something else."
    QUOTA_EXCEEDED = "QuotaExceeded", "A ResourceQuota of the namespace refuses a pod. Tried again regularly."
    FORBIDDEN = "Forbidden", "The operator lacks a permission. Check its ClusterRole."
    ADMISSION_REFUSED = (
        "AdmissionRefused",
        "Pod Security, a LimitRange, a webhook or another rule of admission refuses a pod.",
    )
    GANG_UNAVAILABLE = (
        "GangUnavailable",
        "The API server doesn't know the objects of spec.scheduling.gang.provider. Install it, or take another.",
    )
    POD_INVALID = "PodInvalid", "The API server finds a pod invalid; the message names the field."
    ALL_PODS_SCHEDULED = "AllPodsScheduled", "Every pod has a node."
    UNSCHEDULABLE = "Unschedulable", "The scheduler finds no node for a pod; the message says why. No restart is burnt."
    PODS_PENDING = "PodsPending", "Pods don't exist yet, or the scheduler has not looked at them."
    IMAGE_PULL_FAILED = "ImagePullFailed", "A node can't pull the image. No restart is burnt."
    CONTAINER_CONFIG_ERROR = "ContainerConfigError", "A node can't create the container. No restart is burnt."
    LINKS_VERIFIED = "LinksVerified", "Every link was measured and is well; the message has the numbers."
    PREFLIGHT_RUNNING = "PreflightRunning", "The pods check the network between them, or wait for each other to begin."
    NOT_VERIFIED = "NotVerified", "The pods were started without preflight."
    RANKS_JOINED = "RanksJoined", "All ranks are in the Ray cluster."
    RANKS_JOINING = "RanksJoining", "Some ranks are still missing in the Ray cluster."
    MODEL_IS_LOADED = "ModelLoaded", "The engine holds the model."
    MODEL_FETCHING = "ModelFetching", "The model is being fetched from its hub into the cache volume."
    MODEL_LOADING = "ModelLoading", "The engine is loading the model."
    API_ANSWERS = "ApiAnswers", "The API answers."
    API_SILENT = "ApiSilent", "The API doesn't answer yet."
    NOT_STARTED = "NotStarted", "The container that could tell doesn't run yet."
    RUNTIME_UNREACHABLE = "RuntimeUnreachable", "The leader runs, but the operator gets no status from it."


class FailureReason(_Documented):
    """Why an attempt ended, as far as Kubernetes tells; all of them are retried."""

    OOM_KILLED = "OOMKilled", "The container used more memory than its limit. Raise spec.runtime.memory."
    SIGNALLED = "Signalled", "A signal ended the container; the message names it."
    EXITED = "Exited", "The container ended without telling why; see its last log lines."
    START_ERROR = "StartError", "The container could not be started; see the message."
    EVICTED = "Evicted", "The pod was evicted: by the API, or by a node short of memory or disk."
    PREEMPTED = "Preempted", "A pod of higher priority took the place."
    NODE_LOST = "NodeLost", "The pod's node stopped answering or went away."
    POD_DELETED = "PodDeleted", "Someone deleted the pod."


class EventReason(_Documented):
    """Reasons of Events."""

    ATTEMPT_STARTED = "AttemptStarted", "All pods of an attempt were created."
    ATTEMPT_FAILED = "AttemptFailed", "An attempt of a group or a stage failed; the note names the root cause."
    NODE_AVOIDED = "NodeAvoided", "A node was at fault; the next attempts of the group or the stage go elsewhere."
    GROUP_READY = "GroupReady", "A group answers requests."
    SCALED = "Scaled", "The number of groups changed."
    STAGE_SUCCEEDED = "StageSucceeded", "A stage of a fine-tune is done; the note has its figures."
    COMPLETE = "Complete", "All stages of a fine-tune are done; the note names the result."
    STALLED = "Stalled", "No progress can be expected without help."
    REFUSED = "Refused", "The spec, or a pod made from it, was refused."
