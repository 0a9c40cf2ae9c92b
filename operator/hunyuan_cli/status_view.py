"""What ``hunyuan status`` shows of a resource: a tree of the one, a line of the many. Needs rich (extra ``client``).

Only what is not as it should be gets words; whatever the first look at a fault needs is here: reason and message of
each condition, and of the last failure the pod, its node, its exit code and its log's last lines.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hunyuan_operator.api import names
from hunyuan_operator.api.deployment import HunyuanDeploymentStatus
from hunyuan_operator.api.deployment_status import GroupProgress, GroupStatus, PlanStatus
from hunyuan_operator.api.finetune_status import FineTuneProgress, HunyuanFineTuneStatus, StageStatus
from hunyuan_operator.api.reasons import ConditionType, Reason
from hunyuan_operator.api.status import Condition, Failure, RestartMemory
from hunyuan_operator.api.times import format_time, parse_time
from hunyuan_operator.plan.restarts import is_repeating
from hunyuan_operator.status.progress import in_words
from hunyuan_operator.status.training import in_words as steps_in_words
from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from hunyuan_cli.ages import ago, duration
from hunyuan_runtime.train_config import Stage

Manifest = Mapping[str, Any]
Status = HunyuanDeploymentStatus | HunyuanFineTuneStatus
Progress = TypeVar("Progress", GroupProgress, FineTuneProgress)

_KINDS: dict[str, type[Status]] = {
    names.DEPLOYMENT_KIND: HunyuanDeploymentStatus,
    names.FINE_TUNE_KIND: HunyuanFineTuneStatus,
}
_COLOURS = {
    **dict.fromkeys(("Ready", "Serving", "Complete", "done"), "green"),
    **dict.fromkeys(("Stalled", "BackOff", "failed", "NotReady"), "red"),
    **dict.fromkeys(("waiting", "Suspended", "Stopping"), "dim"),
}
"""Any other word is of something under way."""
_BAD_IF_TRUE = {ConditionType.PROGRESSING, ConditionType.DEGRADED, ConditionType.STALLED}
_SAID_ELSEWHERE = {ConditionType.READY, ConditionType.RECONCILING}
"""In the first line, and by Progressing."""
_STAGE_OF: Mapping[str, Stage] = {
    ConditionType.DATA_VALIDATED: Stage.CHECK,
    ConditionType.TRAINED: Stage.TRAIN,
    ConditionType.MERGED: Stage.MERGE,
    ConditionType.QUANTIZED: Stage.QUANTIZE,
    ConditionType.EVALUATED: Stage.EVALUATE,
}


def status_of(manifest: Manifest) -> Status:
    """Raises pydantic's ValidationError when it is of another version of the operator."""
    return _KINDS[manifest["kind"]].model_validate(manifest.get("status", {}))


def tree(manifest: Manifest, now: datetime) -> Tree:
    status = status_of(manifest)
    root = Tree(_first_line(manifest, status, now), guide_style="dim")
    for note in _notes(manifest, status):
        root.add(Text(note, style="yellow"))
    if isinstance(status, HunyuanDeploymentStatus):
        _add_deployment(root, status, now)
    else:
        _add_fine_tune(root, status, now)
    if found := list(_conditions(status.conditions, now)):
        _add_all(root.add("conditions"), found)
    if status.last_failure:
        _add_failure(root, status.last_failure, now)
    return root


def table(manifests: Iterable[Manifest], now: datetime) -> Group:
    """A line each: its end, the message, is cut where there is no room."""
    head = ("KIND", "NAME", "READY", "STATE", "AGE", "MESSAGE")
    rows = [head, *(_row(manifest, now) for manifest in manifests)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(head) - 1)]
    lines = []
    for row in rows:
        cells = (
            [Text(text) for text in row[:3]]
            + [Text(row[3]) if row is head else _word(row[3])]
            + [Text(text) for text in row[4:]]
        )
        for cell, width in zip(cells, widths, strict=False):
            cell.pad_right(width - len(cell))
        lines.append(Text("  ", no_wrap=True, overflow="ellipsis").join(cells))
    return Group(*lines)


def _row(manifest: Manifest, now: datetime) -> tuple[str, str, str, str, str, str]:
    status, metadata = status_of(manifest), manifest["metadata"]
    ready = _condition(status, ConditionType.READY)
    if isinstance(status, HunyuanDeploymentStatus):
        count = f"{status.ready_groups}/{manifest['spec'].get('groups', 1)}"
    else:
        count = "yes" if ready and ready.status == "True" else "no"
    message = ready.message if ready else "no status yet: does the operator run?"
    age = ago(metadata["creationTimestamp"], now)
    return manifest["kind"], metadata["name"], count, _state(status), age, message


def _first_line(manifest: Manifest, status: Status, now: datetime) -> Text:
    metadata = manifest["metadata"]
    line = Text.assemble((f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}", "bold"), "  ")
    ready = _condition(status, ConditionType.READY)
    if ready is None:
        return line.append(f"no status yet, {ago(metadata['creationTimestamp'], now)} old")
    yes = ready.status == "True"
    line.append(_word("Ready" if yes else "NotReady")).append(f" for {ago(ready.last_transition_time, now)}")
    # What follows a semicolon is of the Degraded condition, which stands below.
    message = ready.message.partition(";")[0]
    return line.append(f", {ready.reason}" if not yes else "").append(f": {message}" if message else "")


def _notes(manifest: Manifest, status: Status) -> Iterator[str]:
    metadata = manifest["metadata"]
    if "deletionTimestamp" in metadata:
        yield "is being deleted"
    if not status.conditions:
        yield "the operator has not looked at it: does it run, and does it watch this namespace?"
    elif status.observed_generation < metadata["generation"]:
        seen = f"{status.observed_generation} of {metadata['generation']}"
        yield f"the spec has changed and the operator has not seen that yet (generation {seen})"


def _add_deployment(root: Tree, status: HunyuanDeploymentStatus, now: datetime) -> None:
    if status.url:
        root.add(Text(f"url  {status.url}"))
    if status.plan:
        _add_all(root.add(_layout(status.plan)), map(Text, _memory(status.plan)))
    for group in status.group_statuses:
        branch = root.add(Text.assemble(f"group {group.index}  ", _word(group.state), f"  {_life(group, now)}"))
        _add_all(branch, map(Text, _group_details(group, now)))


def _layout(plan: PlanStatus) -> Text:
    nodes = f"{plan.nodes} node{'s' if plan.nodes != 1 else ''}"
    return Text(f"plan  a group is {nodes}: tensor {plan.tensor_parallel} x pipeline {plan.pipeline_parallel}")


def _memory(plan: PlanStatus) -> Iterator[str]:
    if plan.weight_bytes_per_gpu:
        weights, cache = _size(plan.weight_bytes_per_gpu), _size(plan.kv_cache_bytes_per_gpu)
        yield f"the fullest GPU: {weights} of weights, {cache} of KV cache"
        yield f"a group holds {plan.kv_cache_tokens:,} tokens, {plan.max_concurrency:,} requests of maxModelLen at once"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _life(group: GroupStatus, now: datetime) -> str:
    attempt = f"attempt {group.attempt}" if group.attempt else "no attempt yet"
    if group.ready:
        took = parse_time(group.ready_at) - parse_time(group.started_at or group.ready_at)
        return f"{attempt}, ready for {ago(group.ready_at, now)}, {duration(took)} after its start"
    if group.retry_at:
        return f"{attempt} has ended"
    return f"{attempt}, started {ago(group.started_at, now)} ago" if group.started_at else attempt


def _group_details(group: GroupStatus, now: datetime) -> Iterator[str]:
    if group.nodes:
        yield f"nodes  {', '.join(group.nodes)}"
    if group.progress:
        yield in_words(_as_of(now, group.progress))
    yield from _ending(group, now)


def _ending(memory: RestartMemory, now: datetime) -> Iterator[str]:
    """Where attempts don't go, why one ended, and when the next may begin."""
    for node in memory.avoid_nodes:
        yield f"avoids {node.name} until {node.until}: {node.reason}"
    if not memory.retry_at:
        return
    if memory.reason:
        yield f"{memory.reason}: {memory.message}"
    if not memory.retryable:
        yield "no retry can help: change the spec or what it names"
    elif is_repeating(memory):
        yield f"{len(memory.repeated)} times in a row: mend the cause, then change the annotation {names.RETRY}"
    elif (wait := parse_time(memory.retry_at) - now) > timedelta(0):
        yield f"next attempt in {duration(wait)} at the earliest; failures that count: {len(memory.failures)}"


def _add_fine_tune(root: Tree, status: HunyuanFineTuneStatus, now: datetime) -> None:
    for stage in status.stages:
        branch = root.add(Text.assemble(f"{stage.name}  ", *_stage_life(stage, status, now)))
        if stage.nodes and not stage.finished_at:
            branch.add(Text(f"nodes  {', '.join(stage.nodes)}"))
        if status.progress and stage.name == status.stage:
            _add_all(branch, map(Text, _progress(Stage(stage.name), status.progress, now)))
        _add_all(branch, map(Text, _ending(stage, now)) if not stage.finished_at else ())
    begun = {stage.name for stage in status.stages}
    for condition in status.conditions:
        stage_name = _STAGE_OF.get(condition.type)
        if stage_name and stage_name not in begun:
            root.add(Text.assemble(f"{stage_name}  ", _word("waiting")))
    _add_all(root, map(Text, _outcome(status)))


def _stage_life(stage: StageStatus, status: HunyuanFineTuneStatus, now: datetime) -> Iterator[str | Text]:
    attempts = f"attempt {stage.attempt}"
    if stage.finished_at:
        took = parse_time(stage.finished_at) - parse_time(stage.started_at or stage.finished_at)
        yield _word("done")
        yield f"  {attempts}, in {duration(took)}: {stage.report}"
    else:
        yield _word(status.state if stage.name == status.stage else "waiting")
        since = f", started {ago(stage.started_at, now)} ago" if stage.started_at and not stage.retry_at else ""
        yield f"  {attempts}{since}"


def _progress(stage: Stage, progress: FineTuneProgress, now: datetime) -> Iterator[str]:
    if words := steps_in_words(stage, _as_of(now, progress)):
        yield words
    speed = []
    if progress.tokens_per_second is not None:
        speed.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.mfu is not None:
        speed.append(f"MFU {progress.mfu:.0%}")
    if progress.last_checkpoint is not None:
        speed.append(f"last checkpoint at step {progress.last_checkpoint}")
    if speed:
        yield ", ".join(speed)


def _outcome(status: HunyuanFineTuneStatus) -> Iterator[str]:
    if status.final_loss is not None:
        yield f"final loss  {status.final_loss:.4g}"
    if found := status.evaluation:
        figures = {"loss": found.loss, "exact match": found.accuracy, "fields": found.field_accuracy}
        yield "evaluation  " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if value is not None)
    for name, made in (("result", status.result), ("adapter", status.adapter)):
        if made:
            yield f"{name}  {made.path} in claim {made.claim_name}"


def _conditions(conditions: Iterable[Condition], now: datetime) -> Iterator[Text]:
    """Those that are not as they should be; several that say the same are one."""
    told: dict[tuple[str, str, str], list[Condition]] = {}
    for one in conditions:
        wrong = "True" if one.type in _BAD_IF_TRUE else "False"
        as_it_should_be = one.status not in {wrong, "Unknown"}
        if as_it_should_be or one.type in _SAID_ELSEWHERE or one.type in _STAGE_OF:
            continue
        told.setdefault((one.status, one.reason, one.message), []).append(one)
    for (status, reason, message), same in told.items():
        kinds = ", ".join(one.type for one in same)
        bad = any(one.type in {ConditionType.DEGRADED, ConditionType.STALLED} for one in same)
        since = ago(max(one.last_transition_time for one in same), now)
        words = f" {status} for {since}, {reason}" + (f": {message}" if message else "")
        yield Text.assemble((kinds, "red" if bad else "yellow"), words)


def _add_failure(root: Tree, failure: Failure, now: datetime) -> None:
    of = f"stage {failure.stage}" if failure.stage else f"group {failure.group}"
    branch = root.add(f"last failure  {ago(failure.time, now)} ago, {of}, attempt {failure.attempt}")
    code = "" if failure.exit_code is None else f", exit code {failure.exit_code}"
    code += f" ({failure.signal})" if failure.signal else ""
    branch.add(Text.assemble((failure.reason, "red"), code, f": {failure.message}" if failure.message else ""))
    where = f"pod {failure.pod}" + (f", container {failure.container}" if failure.container else "")
    branch.add(Text(where + (f", node {failure.node}" if failure.node else "")))
    if failure.log.strip():
        _add_all(branch.add("log"), (Text(line, style="dim") for line in failure.log.rstrip().splitlines()))


def _as_of(now: datetime, progress: Progress) -> Progress:
    """What is left of the time is told from now on, not from when the figures were taken."""
    return progress.model_copy(update={"time": format_time(now)})


def _state(status: Status) -> str:
    if isinstance(status, HunyuanFineTuneStatus):
        return status.state
    ready = _condition(status, ConditionType.READY)
    if ready and ready.status == "False" and ready.reason in {Reason.SUSPENDED, Reason.SCALED_TO_ZERO}:
        return ready.reason
    return ",".join(dict.fromkeys(group.state for group in status.group_statuses))


def _condition(status: Status, kind: ConditionType) -> Condition | None:
    return next((one for one in status.conditions if one.type == kind), None)


def _word(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, "yellow"))


def _add_all(branch: Tree, lines: Iterable[Text]) -> None:
    for line in lines:
        branch.add(line)
