"""``hunyuan status``: whole outputs of the golden cases, and how kubectl is asked."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hunyuan_cli.ages import duration
from hunyuan_cli.main import main
from hunyuan_cli.status_view import table, tree
from rich.console import Console, RenderableType

GOLDEN = Path(__file__).parents[2] / "golden"
NOW = datetime(2026, 11, 24, 12, 10, 5, tzinfo=UTC)


def golden(case: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((GOLDEN / case / "cr.yaml").read_text())
    manifest["metadata"].update(creationTimestamp="2026-11-24T12:00:00Z", namespace="demo", generation=1)
    manifest["status"] = yaml.safe_load((GOLDEN / case / "status.yaml").read_text())
    return manifest


def rendered(view: RenderableType, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(view)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


FAILED = """\
HunyuanDeployment demo/tiny  NotReady for 4s, BackOff: 0 of 1 groups ready
├── url  http://tiny.demo.svc:8000/v1
├── plan  a group is 2 nodes: tensor 2 x pipeline 1
│   ├── the fullest GPU: 2.9 MB of weights, 67.1 MB of KV cache
│   └── a group holds 104,848 tokens, 204 requests of maxModelLen at once
├── group 0  BackOff  attempt 1 has ended
│   ├── nodes  node-0, node-1
│   ├── WorkerDied: the engine's process of rank 1 was ended by SIGKILL
│   └── next attempt in 6s at the earliest; failures that count: 1
├── conditions
│   ├── Progressing True for 4s, BackOff: group 0
│   ├── Degraded True for 4s, BackOff: group 0: attempt 1 failed: WorkerDied: the engine's process
│   │   of rank 1 was ended by SIGKILL; the next is due at 2026-11-24T12:10:11Z
│   ├── Scheduled False for 4s, PodsPending: group 0: waits for its pods
│   ├── NetworkVerified Unknown for 4s, PodsPending: group 0: waits for its pods
│   └── RayReady, ModelLoaded, Serving False for 4s, NotStarted: group 0: its leader doesn't run yet
└── last failure  4s ago, group 0, attempt 1
    ├── WorkerDied, exit code 75: the engine's process of rank 1 was ended by SIGKILL
    ├── pod tiny-g0-1-1, container runtime, node node-1
    └── log
        └── last words of tiny-g0-1-1/runtime"""
SERVING = """\
HunyuanDeployment demo/tiny  Ready for 10m4s: 1 of 1 groups ready
├── url  http://tiny.demo.svc:8000/v1
├── plan  a group is 2 nodes: tensor 2 x pipeline 1
│   ├── the fullest GPU: 2.9 MB of weights, 67.1 MB of KV cache
│   └── a group holds 104,848 tokens, 204 requests of maxModelLen at once
└── group 0  Serving  attempt 1, ready for 10m4s, 1s after its start
    └── nodes  node-0, node-1"""
FETCHING = """\
HunyuanDeployment demo/large  NotReady for 10m5s, GroupsNotReady: 0 of 1 groups ready
├── url  http://large.demo.svc:8000/v1
├── plan  a group is 1 node: tensor 8 x pipeline 1
│   ├── the fullest GPU: 48.7 GB of weights, 41.2 GB of KV cache
│   └── a group holds 4,019,440 tokens, 392 requests of maxModelLen at once
├── group 0  Fetching  attempt 1, started 10m5s ago
│   ├── nodes  node-0
│   └── 12.3 of 390.5 GB, about 40 min left
└── conditions
    ├── Progressing True for 10m5s, Starting: group 0
    ├── RayReady, Serving False for 10m5s, NotStarted: group 0: its leader doesn't run yet
    └── ModelLoaded False for 10m5s, ModelFetching: group 0: 12.3 of 390.5 GB, about 50 min left"""
STALLED = """\
HunyuanFineTune demo/car  NotReady for 10m5s, DataInvalid: 0 of 3 stages are done
├── check  Stalled  attempt 1
│   ├── nodes  node-0
│   ├── DataInvalid: line 317: not JSON: Expecting ',' delimiter, column 41
│   └── no retry can help: change the spec or what it names
├── train  waiting
├── merge  waiting
├── conditions
│   ├── Degraded, Stalled True for 10m5s, DataInvalid: stage check: line 317: not JSON: Expecting
│   │   ',' delimiter, column 41
│   └── Scheduled False for 10m5s, PodsPending: stage check: waits for its pods
└── last failure  10m5s ago, stage check, attempt 1
    ├── DataInvalid, exit code 86: line 317: not JSON: Expecting ',' delimiter, column 41
    ├── pod car-check-1-0-x6, container runtime, node node-0
    └── log
        └── last words of car-check-1-0-x6/runtime"""
COMPLETE = """\
HunyuanFineTune demo/car  Ready for 9m5s: car/merged in claim models
├── check  done  attempt 1, in 15s: 64 conversations, 9000 tokens
├── train  done  attempt 1, in 15s: 200 steps, loss 0.0625
├── merge  done  attempt 1, in 15s: 7 shards
├── evaluate  done  attempt 1, in 15s: exact match 0.5 of 500
├── final loss  0.0625
├── evaluation  loss 0.25, exact match 0.5, fields 0.75
├── result  car/merged in claim models
└── adapter  car/adapter in claim models"""


def test_a_group_that_fails_again_and_again_says_what_ends_that_and_where_it_does_not_go() -> None:
    manifest = golden("tiny-worker-died")
    group = manifest["status"]["groupStatuses"][0]
    group["repeated"] = ["2026-11-24T12:00:00Z", "2026-11-24T12:05:00Z", "2026-11-24T12:10:01Z"]
    group["avoidNodes"] = [{"name": "node-7", "reason": "GpuFault", "until": "2026-11-24T13:00:00Z"}]
    manifest["status"]["lastFailure"] |= {"exitCode": 139, "signal": "SIGSEGV"}
    shown = rendered(tree(manifest, NOW))
    assert "avoids node-7 until 2026-11-24T13:00:00Z: GpuFault" in shown
    assert "3 times in a row: mend the cause, then change the annotation hunyuan.dev/retry" in shown
    assert "WorkerDied, exit code 139 (SIGSEGV): " in shown


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("tiny-worker-died", FAILED),
        ("tiny-serving", SERVING),
        ("hub-fetching", FETCHING),
        ("finetune-data-invalid", STALLED),
        ("finetune-lora-complete", COMPLETE),
    ],
)
def test_a_tree_says_what_is_and_why(case: str, expected: str) -> None:
    assert rendered(tree(golden(case), NOW)) == expected


def test_a_training_tells_its_progress() -> None:
    told = rendered(tree(golden("finetune-full-training"), NOW + timedelta(minutes=53)))
    assert "├── train  Training  attempt 2, started 2m20s ago" in told
    assert "│   ├── step 120 of 200, loss 0.4375, about 24 min left" in told
    assert "│   └── 21,504 tokens/s, MFU 31%, last checkpoint at step 100" in told


NARROW = """\
KIND               NAME  READY  STATE     AGE    MESSAGE
HunyuanDeployment  tiny  0/1    BackOff   10m5s  0 of 1 groups ready; g…
HunyuanFineTune    car   yes    Complete  10m5s  car/merged in claim mo…"""


def test_in_a_table_the_message_alone_gives_way() -> None:
    wide = rendered(table([golden("tiny-worker-died"), golden("finetune-lora-complete")], NOW), width=300)
    narrow = rendered(table([golden("tiny-worker-died"), golden("finetune-lora-complete")], NOW), width=72)
    assert "the next is due at 2026-11-24T12:10:11Z" in wide
    assert narrow == NARROW


def test_a_resource_that_no_operator_has_looked_at_says_so() -> None:
    new = golden("tiny-serving")
    del new["status"]
    told = rendered(tree(new, NOW), width=120)
    assert told.startswith("HunyuanDeployment demo/tiny  no status yet, 10m5s old")
    assert "does it run, and does it watch this namespace?" in told


def test_a_status_of_an_earlier_spec_says_so() -> None:
    changed = golden("tiny-serving")
    changed["metadata"]["generation"] = 2
    assert "the operator has not seen that yet (generation 1 of 2)" in rendered(tree(changed, NOW))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0s"), (0, "0s"), (45, "45s"), (120, "2m"), (150, "2m30s"), (3600, "1h"), (12000, "3h20m"), (445000, "5d3h")],
)
def test_a_duration_has_its_two_greatest_units(seconds: int, expected: str) -> None:
    assert duration(timedelta(seconds=seconds)) == expected


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that writes down its arguments, and answers what the test puts into ``answer``."""
    program = tmp_path / "kubectl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f"if test -f {tmp_path}/refusal; then cat {tmp_path}/refusal >&2; exit 1; fi\ncat {tmp_path}/answer\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "answer").write_text("")
    return tmp_path


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["status", *args])
    return result.exit_code, result.stdout, result.stderr


def test_kubectl_is_asked_for_both_kinds_of_that_name(kubectl: Path) -> None:
    (kubectl / "answer").write_text(json.dumps(golden("tiny-serving")))
    code, out, _ = run("tiny", "-n", "demo")
    assert (code, out.splitlines()[0].split()[:2]) == (0, ["HunyuanDeployment", "demo/tiny"])
    assert (kubectl / "asked").read_text().split() == [
        "get",
        "hunyuandeployments.hunyuan.dev/tiny",
        "hunyuanfinetunes.hunyuan.dev/tiny",
        "--ignore-not-found",
        "--output=json",
        "--namespace=demo",
    ]


def test_what_is_not_a_terminal_gets_no_colours_and_whole_lines(kubectl: Path) -> None:
    (kubectl / "answer").write_text(json.dumps(golden("tiny-worker-died")))
    _, out, _ = run("tiny")
    assert "\x1b" not in out
    assert "of rank 1 was ended by SIGKILL; the next is due at 2026-11-24T12:10:11Z\n" in out


def test_json_of_one_is_an_object_and_of_many_a_list(kubectl: Path) -> None:
    resource = golden("tiny-serving")
    (kubectl / "answer").write_text(json.dumps(resource))
    one = json.loads(run("tiny", "--json")[1])
    assert (one["kind"], one["name"], one["status"]) == ("HunyuanDeployment", "tiny", resource["status"])
    (kubectl / "answer").write_text(json.dumps({"items": [resource]}))
    assert json.loads(run("--json")[1]) == [one]


def test_a_name_that_nothing_bears_is_one_line_and_code_2(kubectl: Path) -> None:
    assert run("none") == (2, "", "hunyuan: there is no HunyuanDeployment and no HunyuanFineTune 'none'\n")


def test_an_empty_namespace_says_so(kubectl: Path) -> None:
    assert run() == (0, "No HunyuanDeployment and no HunyuanFineTune here.\n", "")


def test_what_kubectl_is_refused_is_told(kubectl: Path) -> None:
    (kubectl / "refusal").write_text("error: You must be logged in to the server (Unauthorized)\n")
    assert run("tiny") == (2, "", "hunyuan: kubectl: You must be logged in to the server (Unauthorized)\n")


def test_without_kubectl_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("tiny") == (2, "", "hunyuan: there is no kubectl, by which the cluster is read\n")
