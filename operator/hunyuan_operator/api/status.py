"""What the status of both kinds is made of."""

from typing import Literal, Self

from pydantic import Field

from hunyuan_operator.api.base import Model


class Condition(Model):
    """A metav1.Condition."""

    type: str = Field(description="What it is about; docs/reasons.md lists all")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so")
    reason: str = Field(description="Why, in one CamelCase word; docs/reasons.md lists all")
    message: str = Field(default="", description="Why, for people")
    last_transition_time: str = Field(description="When the status last changed")
    observed_generation: int = Field(default=0, description="Generation of the spec that this is about")


class Failure(Model):
    """The root cause of an attempt's end; stays until the next failure replaces it."""

    time: str = Field(description="When it happened")
    group: int | None = Field(default=None, description="Index of the group, of a HunyuanDeployment")
    stage: str = Field(default="", description="Name of the stage, of a HunyuanFineTune")
    attempt: int = Field(description="Number of the attempt that ended")
    pod: str = Field(description="Pod that failed first")
    container: str = Field(default="", description="Container that failed; empty if the pod failed as a whole")
    node: str = Field(default="", description="Node of the pod")
    exit_code: int | None = Field(default=None, description="Exit code of the container")
    signal: str = Field(default="", description="Signal that ended the container, such as SIGKILL")
    reason: str = Field(description="Cause in one word; docs/reasons.md lists all")
    message: str = Field(default="", description="What happened, in the words of the runtime or the kubelet")
    retryable: bool = Field(default=True, description="Whether a retry without a change can help")
    fingerprint: str = Field(
        default="", description="The same for failures that differ in numbers and names only; three in a row stall"
    )
    log: str = Field(default="", description="Last 20 lines of the container's log")


class AvoidedNode(Model):
    """A node that was at fault."""

    name: str = Field(description="Name of the node")
    reason: str = Field(description="What it was at fault for, as failures call it")
    until: str = Field(description="When it may be used again; sooner if there is no other way")


class RestartMemory(Model):
    """The operator's memory of the attempts of one thing that is started again when it fails.

    A set retryAt means that this attempt has ended, by a failure or by intent, and that whatever happens to its
    remaining pods is no news.
    """

    attempt: int = Field(default=0, description="Number of the attempt, from 1; a restart is a new one")
    failures: list[str] = Field(default_factory=list, description="Times of the failures inside the restart window")
    fingerprint: str = Field(default="", description="Of the last failure that counts, but for those of nodes")
    repeated: list[str] = Field(default_factory=list, description="Times of the failures in a row that have it")
    retried: str = Field(
        default="", description="Value of the annotation hunyuan.dev/retry that last had this memory cleared"
    )
    retry_at: str = Field(default="", description="Earliest start of the next attempt; empty while this one lasts")
    revision: str = Field(default="", description="Revision of the attempt's pods")
    reason: str = Field(default="", description="Why the attempt ended, if it failed")
    message: str = Field(default="", description="What happened then")
    retryable: bool = Field(default=True, description="Whether a retry without a change can help")
    started_at: str = Field(default="", description="When the attempt's pods were created")
    nodes: list[str] = Field(default_factory=list, description="Nodes of the attempt's pods, by rank")
    prefer_nodes: list[str] = Field(
        default_factory=list, description="Nodes of the attempt before, which this one takes again if it can"
    )
    avoid_nodes: list[AvoidedNode] = Field(
        default_factory=list, description="Nodes that failed an attempt; this one's pods don't go there"
    )

    def blank(self) -> Self:
        """The same thing without any memory of it: what tells it from others are the fields without a default."""
        identity = {name for name, field in type(self).model_fields.items() if field.is_required()}
        return type(self).model_validate(self.model_dump(include=identity))
