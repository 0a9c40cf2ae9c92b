"""Every label, annotation and object name that the operator uses, in one place."""

GROUP = "hunyuan.dev"
VERSION = "v1alpha1"
DEPLOYMENT_KIND = "HunyuanDeployment"
FINE_TUNE_KIND = "HunyuanFineTune"
FIELD_MANAGER = "hunyuan-operator"
LONGEST_NAME = 40
"""Of a resource. A deployment's pods append ``-g<group>-<attempt>-<rank>`` and a host name ends at 63 characters: three
digits of group, four of rank and twelve of attempt are left. A fine-tune's append ``-<stage>-<attempt>-<rank>``."""

FETCH = "fetch"
"""Init container that fetches the model."""

MANAGED_BY = "app.kubernetes.io/managed-by"
"""Label on every child, with :data:`FIELD_MANAGER` as its value; lists and watches are narrowed by it."""
DEPLOYMENT = f"{GROUP}/deployment"
"""Label on every child of a HunyuanDeployment: its name."""
FINE_TUNE = f"{GROUP}/finetune"
"""Label on every child of a HunyuanFineTune, and on the pods of its Jobs: its name."""
STAGE = f"{GROUP}/stage"
"""Label on a fine-tune's Jobs and their pods: the stage, such as ``train``."""
GROUP_INDEX = f"{GROUP}/group"
"""Label on pods: index of the group, from 0."""
ATTEMPT = f"{GROUP}/attempt"
"""Label on pods, and on Jobs: number of the attempt, from 1. A restart of the group or the stage is a new attempt."""
RANK = f"{GROUP}/rank"
"""Label on pods: rank in the group; 0 is the leader."""
ROLE = f"{GROUP}/role"
"""Label on pods: ``leader`` or ``worker``; the API Service selects leaders."""
REVISION = f"{GROUP}/revision"
"""Label on pods, and on Jobs: hash of all that the pods are built from."""
NODES = f"{GROUP}/nodes"
"""Annotation on pods: how many pods their attempt has; a later change of the plan can't misread a running one."""
GANG = f"{GROUP}/gang"
"""Annotation on pods, and on Jobs: who schedules them as a gang; a later change of the spec can't misread old ones."""
POD_GROUP_KIND = "PodGroup"
"""Several APIs have one."""
CONFIG = f"{GROUP}/config"
"""Annotation on Jobs: the ConfigMap that their pods mount."""
RETRY = f"{GROUP}/retry"
"""Annotation on a resource, set by people: another value than before has what failed tried again at once."""
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Label and annotation that Kubernetes puts on the pods of an Indexed Job."""
APPLIED_HASH = f"{GROUP}/applied-hash"
"""Annotation on every applied object: hash of what was applied, so that an unchanged object costs no write."""


PREFLIGHT = "preflight"
"""The init container that checks the network between the ranks."""


def pod_name(deployment: str, group: int, attempt: int, rank: int) -> str:
    return f"{deployment}-g{group}-{attempt}-{rank}"


def gang_name(deployment: str, group: int, attempt: int) -> str:
    return f"{deployment}-g{group}-{attempt}"


def group_name(deployment: str, group: int) -> str:
    """Of what belongs to a group over all its attempts."""
    return f"{deployment}-g{group}"


def pods_service_name(deployment: str) -> str:
    """The headless Service that gives every rank a host name before it is ready."""
    return f"{deployment}-pods"


def token_secret_name(deployment: str) -> str:
    return f"{deployment}-ray-token"


def config_map_name(deployment: str, digest: str) -> str:
    """``digest`` names the content: another content is another object, and a running pod's file never changes."""
    return f"{deployment}-config-{digest}"


def job_name(fine_tune: str, stage: str, attempt: int) -> str:
    """Of one attempt of a stage. Its pods' host names append ``-<rank>``."""
    return f"{fine_tune}-{stage}-{attempt}"


def ranks_service_name(fine_tune: str) -> str:
    """The headless Service of a fine-tune's pods; a deployment of the same name has another."""
    return f"{fine_tune}-ranks"


def fine_tune_budget_name(fine_tune: str) -> str:
    return f"{fine_tune}-training"


def fine_tune_account_name(fine_tune: str) -> str:
    return f"{fine_tune}-finetune"


def fine_tune_config_map_name(fine_tune: str, digest: str) -> str:
    """As :func:`config_map_name`."""
    return f"{fine_tune}-finetune-config-{digest}"
