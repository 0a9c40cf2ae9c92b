"""``hunyuan quantize`` on the tiny model: its answers survive, a killed run goes on, and vLLM takes what is written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from hunyuan_runtime.model import HunYuanForCausalLM
from hunyuan_runtime.tiny.answers import ANSWERS
from hunyuan_runtime.tokenizer import encode_chat
from tests.engine.engines import ENVIRONMENT, ON_GPU, Outcome, Trial, run_trials
from tests.unit.quantize.checkpoints import (
    SHAPE,
    archived,
    eight_bit_model,
    fused,
    logits_of,
    make_source,
    weights_of,
)

pytestmark = pytest.mark.engine

FORMATS = ("autofp8", "compressed-tensors")
HUNYUAN = Path(sys.executable).with_name("hunyuan")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
"""More cost a hundred times what they win on this size."""


def answer_as_chat(question: str) -> str:
    turns = [("user", question), ("assistant", ANSWERS[question])]
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}, ensure_ascii=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("quantize")
    (root / "prompts.jsonl").write_text("\n".join(map(answer_as_chat, ANSWERS)) + "\n")
    return root


def command(tiny: Path, root: Path, kind: str, name: str = "") -> list[str | Path]:
    out = root / (name or kind)
    return [HUNYUAN, "quantize", tiny, out, "--prompts", root / "prompts.jsonl", "--format", kind, "--json"]


@pytest.fixture(scope="module")
def said(tiny: Path, root: Path) -> dict[str, Any]:
    """What the command prints, for each format."""
    return {
        kind: json.loads(
            subprocess.run(command(tiny, root, kind), check=True, stdout=subprocess.PIPE, env=ONE_THREAD).stdout
        )
        for kind in FORMATS
    }


def test_the_command_tells_the_error_of_each_layer(said: dict[str, Any], root: Path) -> None:
    for kind in FORMATS:
        assert (said[kind]["path"], said[kind]["made"]) == (str(root / kind), True)
        report = said[kind]["report"]
        assert report["prompts"] == len(ANSWERS)
        assert [layer["output_error"] < 0.1 for layer in report["layers"]] == [True] * 4


def test_every_answer_survives_eight_bits(said: dict[str, Any], tiny: Path) -> None:
    """Top-1 of every token of every answer, with weights, inputs and values in FP8; logits within 10 %."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    exact = HunYuanForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    rounded = eight_bit_model(Path(said["autofp8"]["path"]))
    for question in ANSWERS:
        messages = json.loads(answer_as_chat(question))["messages"]
        start, ids = len(encode_chat(tokenizer, messages[:1])), encode_chat(tokenizer, messages)
        expected, got = logits_of(exact, ids)[start - 1 : -1], logits_of(rounded, ids)[start - 1 : -1]
        assert expected.argmax(-1).tolist() == ids[start:]
        assert got.argmax(-1).tolist() == ids[start:], question
        assert (got - expected).norm() / expected.norm() < 0.10, question


def test_both_formats_hold_the_same_tensors(said: dict[str, Any]) -> None:
    one, other = (weights_of(Path(said[kind]["path"])) for kind in FORMATS)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name].float(), other[name].float()) for name in one)


@pytest.mark.parametrize("label", ["Measuring layers", "Writing weights"])
def test_after_sigkill_it_goes_on_and_writes_the_same_bytes(
    label: str, said: dict[str, Any], tiny: Path, root: Path
) -> None:
    name = label.replace(" ", "-")
    process = subprocess.Popen(command(tiny, root, "autofp8", name), stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    assert process.stderr is not None
    next(line for line in process.stderr if label in line)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    subprocess.run(command(tiny, root, "autofp8", name), check=True, stdout=subprocess.DEVNULL, env=ONE_THREAD)
    whole, resumed = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (root / "autofp8", root / name)
    )
    assert whole == resumed


@pytest.fixture(scope="module")
def loaded(said: dict[str, Any], root: Path) -> dict[str, Any]:
    told = root / "told.json"
    paths = [said[kind]["path"] for kind in FORMATS]
    with (root / "loading.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("fp8_loading.py"), told, *paths],
            env=os.environ | ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, (root / "loading.log").read_text()[-8000:]
    return dict(zip(FORMATS, json.loads(told.read_text()).values(), strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_engine_finds_every_scale(kind: str, loaded: dict[str, Any], said: dict[str, Any]) -> None:
    stored, scales = weights_of(Path(said[kind]["path"])), loaded[kind]["scales"]

    def of(name: str) -> Any:
        return pytest.approx(stored[f"model.layers.{name}"].item())

    assert scales["model.layers.0.self_attn.qkv_proj.weight_scale"] == [of("0.self_attn.k_proj.weight_scale")] * 3
    assert scales["model.layers.1.self_attn.q_proj.input_scale"] == [of("1.self_attn.q_proj.input_scale")]
    experts = [
        [of(f"2.mlp.experts.{number}.{part}_proj.weight_scale") for part in ("gate", "up")] for number in range(4)
    ]
    at = "model.layers.2.mlp.experts.routed_experts"
    assert scales[f"{at}.w13_weight_scale"] == [scale for pair in experts for scale in pair]
    assert scales[f"{at}.w2_input_scale"] == [of("2.mlp.experts.0.down_proj.input_scale")] * 4


@pytest.mark.parametrize("kind", FORMATS)
def test_both_layers_of_a_group_read_the_cache_with_its_scales(
    kind: str, loaded: dict[str, Any], said: dict[str, Any]
) -> None:
    stored, scales = weights_of(Path(said[kind]["path"])), loaded[kind]["scales"]
    for layer in range(4):
        owner = layer - layer % 2
        wanted = stored[f"model.layers.{owner}.self_attn.v_scale"].item()
        # The engine keeps it in its own dtype, bf16.
        assert scales[f"model.layers.{layer}.self_attn.attn.v_scale"] == [pytest.approx(wanted, rel=2**-8)]
        assert scales[f"model.layers.{layer}.self_attn.attn.k_scale"] == [1.0]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_engine_leaves_no_parameter_to_chance(kind: str, loaded: dict[str, Any]) -> None:
    """All but scales that no checkpoint of this kind holds (queries, probabilities, zero points)."""
    optional = ("q_scale", "prob_scale", "zero_point")
    assert [name for name in loaded[kind]["unreached"] if not name.endswith(optional)] == []
    assert len(loaded[kind]["eight_bits"]) == 4 * (2 + 2 + 2)


FORMS = {"archives of torch": archived, "fused names": fused}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """One model in three forms, asked the same."""
    root = tmp_path_factory.mktemp("forms")
    # The CPU engine wants heads of at least 32.
    source = make_source(root / "plain", hidden_size=128, initializer_range=0.12)
    paths = {"plain": source} | {name: form(source, root / name.replace(" ", "-")) for name, form in FORMS.items()}
    prompts = [list(range(40)), [7, 3, 90]]
    options = {"max_model_len": SHAPE["max_position_embeddings"]}
    trials = {name: Trial(model=str(path), prompts=prompts, options=options) for name, path in paths.items()}
    return run_trials(trials, root)


@pytest.mark.parametrize("form", FORMS)
def test_the_engine_says_the_same_whatever_form_the_checkpoint_has(form: str, outcomes: dict[str, Outcome]) -> None:
    assert not outcomes[form].failure, outcomes[form].failure
    assert outcomes["plain"].ids
    assert outcomes[form].ids == outcomes["plain"].ids
    assert outcomes[form].logprobs == outcomes["plain"].logprobs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="FP8 weights need a GPU; on a CPU see the loading above")
def test_the_engine_answers_in_eight_bits_on_a_gpu(said: dict[str, Any], root: Path) -> None:
    chats = [[{"role": "user", "content": question}] for question in ANSWERS]
    options = {"dtype": "bfloat16", "tokenizer_mode": "hunyuan", "kv_cache_dtype": "fp8"}
    trials = {kind: Trial(model=said[kind]["path"], chats=chats, new_tokens=64, options=options) for kind in FORMATS}
    for kind, outcome in run_trials(trials, root, ON_GPU).items():
        assert not outcome.failure, outcome.failure
        assert outcome.texts == list(ANSWERS.values()), kind
