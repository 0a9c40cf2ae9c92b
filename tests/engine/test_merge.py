"""What comes after training, with the real parts: DeepSpeed's checkpoints, and the engine that serves and evaluates."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hunyuan_runtime.merge import ZeroCheckpoint
from hunyuan_runtime.tiny.answers import ANSWERS
from hunyuan_runtime.train.merge import run
from hunyuan_runtime.train_config import LoraConfig, StageReport
from tests.engine.engines import ENVIRONMENT, Outcome, Trial, run_trials
from tests.unit.quantize.checkpoints import SHAPE, make_source, weights_of
from tests.unit.train_after.models import ATTENTION, config_of, lora_of
from tests.unit.train_after.zero_files import finish, write_checkpoint

pytestmark = pytest.mark.engine

UNEVEN: dict[str, Any] = {"hidden_size": 56, "intermediate_size": 35, "num_experts": 3}
"""Sizes that two ranks can't divide without padding."""


@pytest.mark.parametrize(("stage", "method"), [(2, "lora"), (3, "full")])
def test_parameters_are_what_deepspeeds_own_conversion_makes_of_them(stage: int, method: str, tmp_path: Path) -> None:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint  # noqa: PLC0415 - slow

    base, root = make_source(tmp_path / "base", **UNEVEN), tmp_path / "checkpoints"
    script = Path(__file__).with_name("zero_training.py")
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, base, root,
         str(stage), method],
        env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        check=True,
    )  # fmt: skip
    folder = root / "step-00000004"
    wanted = get_fp32_state_dict_from_zero_checkpoint(str(root), folder.name)
    found = ZeroCheckpoint(folder, made_of="")
    assert wanted.keys() - found.shapes.keys() == ({"lm_head.weight"} if method == "full" else set())
    assert all(torch.equal(found.get(name), wanted[name]) for name in found.shapes)

    finish(folder, 4, 2)
    lora = LoraConfig(rank=4, alpha=8, targets=("q_proj", "v_proj"))
    run(config_of(base, tmp_path, method=method, lora=lora), lambda _: None)
    if method == "full":
        merged = weights_of(tmp_path / "merged")
        assert all(torch.equal(tensor, wanted[name].to(tensor.dtype)) for name, tensor in merged.items())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Base, base with adapter, and the two merged, asked the same in fp32."""
    root = tmp_path_factory.mktemp("served")
    # The CPU engine wants heads of at least 32.
    base = make_source(root / "base", hidden_size=128, initializer_range=0.12)
    write_checkpoint(root / "out", [lora_of(base, ATTENTION)[0]])
    run(config_of(base, root / "out", merge_dtype="fp32"), lambda _: None)
    options = {"max_model_len": SHAPE["max_position_embeddings"]}
    adapted = options | {"enable_lora": True, "max_lora_rank": 8, "lora_target_modules": list(ATTENTION)}
    prompts = [list(range(40)), [7, 3, 90]]
    return run_trials(
        {
            "base": Trial(model=str(base), prompts=prompts, options=options),
            "adapter": Trial(model=str(base), prompts=prompts, options=adapted, adapter=str(root / "out/adapter")),
            "merged": Trial(model=str(root / "out/merged"), prompts=prompts, options=options),
        },
        root,
    )


def test_the_engine_says_the_same_with_an_adapter_as_merged(outcomes: dict[str, Outcome]) -> None:
    """Layers of a group that own no keys have a lone q_proj: the adapter reaches it, too."""
    assert not any(outcome.failure for outcome in outcomes.values()), outcomes
    assert outcomes["adapter"].ids == outcomes["merged"].ids != outcomes["base"].ids
    for adapted, merged in zip(outcomes["adapter"].logprobs, outcomes["merged"].logprobs, strict=True):
        assert adapted == pytest.approx(merged, abs=1e-3)


def lines_of(answers: dict[str, str]) -> str:
    chats = [[("user", question), ("assistant", answer)] for question, answer in answers.items()]
    messages = [[{"role": role, "content": content} for role, content in chat] for chat in chats]
    return "".join(json.dumps({"messages": one}, ensure_ascii=False) + "\n" for one in messages)


def test_the_evaluation_says_which_answers_a_model_knows(tiny: Path, tmp_path: Path) -> None:
    """The tiny model knows its answers by heart; two of the file's are others."""
    output = tmp_path / "out"
    shutil.copytree(tiny, output / "merged")
    questions = list(ANSWERS)
    wrong = {questions[3]: "乐山大佛；宝马x1", questions[7]: '{"a": 1}'}
    (tmp_path / "held-out.jsonl").write_text(lines_of(ANSWERS | wrong))
    config = config_of(tiny, output, evaluation_path=str(tmp_path / "held-out.jsonl"), gpus_per_node=1)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command: list[str | Path] = [
        sys.executable, "-m", "hunyuan_runtime.train", "evaluate", "--config", tmp_path / "config.json",
        "--termination-log", tmp_path / "said", "--port", "0",
    ]  # fmt: skip
    rank = {"HUNYUAN_RANK": "0", "HUNYUAN_LEADER": "localhost", "HUNYUAN_POD_IP": "127.0.0.1"}
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(
            command, env=os.environ | ENVIRONMENT | rank, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    assert done.returncode == 0, (tmp_path / "log").read_text()[-8000:]
    report = StageReport.parse((tmp_path / "said").read_text())
    assert report is not None
    known = len(ANSWERS) - len(wrong)
    assert (report.examples, report.accuracy, report.model) == (len(ANSWERS), known / len(ANSWERS), "merged")
    assert report.field_accuracy is not None
    assert 0 < report.field_accuracy < known / len(ANSWERS)
    assert report.loss is not None
    assert report.loss > 0
    told = json.loads((output / "evaluation.json").read_text())
    assert [answer["line"] for answer in told["answers"] if not answer["match"]] == [4, 8]
    assert told["answers"][3]["got"] == ANSWERS[questions[3]]
    assert told["loss"] == report.loss
