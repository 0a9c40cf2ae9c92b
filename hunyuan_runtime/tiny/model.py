"""Train, check and write the tiny model: half a minute on one core, at once where it exists already.

The checkpoint has everything that makes Hunyuan-Large hard to wire: two layers a cross-layer attention group, a norm on
queries and keys, dynamic-alpha rotary embedding, routed and shared experts, tied embeddings, more than one shard. Head
and expert sizes divide by two and four, so it can be split by tensor parallelism.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoTokenizer

import hunyuan_runtime
from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.tiny.answers import ANSWERS, SYSTEM_PROMPT
from hunyuan_runtime.tokenizer import encode_chat
from hunyuan_runtime.tokenizer.convert import build, tokenizer_config
from hunyuan_runtime.tokenizer.vocabulary import SPECIAL_TOKENS, Vocabulary, byte_characters

VOCABULARY_SIZE = 768
STEPS = 40
"""Enough for a margin above 5 logits; the loss stops falling at 30 (measured)."""
PEAK_LEARNING_RATE = 3e-3
MIN_MARGIN = 1.0
"""Least distance in logits between each answer's token and the next best: far above what bf16 or TP can move."""

STAMP = "made-of.json"


class NotMemorisedError(RuntimeError):
    """Training ended before every answer was known; names the first question that was answered wrongly."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where the model is, whether it was made now, and the least margin over all answers in logits."""

    path: Path
    made: bool
    margin: float


def make_tiny_model(out: Path, progress: Callable[[int, int, float], None] = lambda *_: None) -> Report:
    """Make the tiny model in ``out``, which appears whole or not at all; ``progress`` gets (step, steps, loss).

    Raises:
        FileExistsError: ``out`` holds something else.
        NotMemorisedError: training didn't reach its goal; nothing was written.
    """
    stamp = out / STAMP
    digest = made_of()
    if stamp.exists():
        known = json.loads(stamp.read_text())
        if known["digest"] == digest:
            return Report(path=out, made=False, margin=known["margin"])
    elif out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} holds something other than a tiny model: give an empty or a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch, "model")
        margin = _write(folder, progress)
        (folder / STAMP).write_text(json.dumps({"digest": digest, "margin": margin}) + "\n")
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)  # safetensors writes for the owner only, but the engine runs as another user
        shutil.rmtree(out, ignore_errors=True)
        folder.rename(out)
    return Report(path=out, made=True, margin=margin)


def made_of() -> str:
    """Hash of every source that the model is made of, and of the torch that trains it."""
    root = Path(hunyuan_runtime.__file__).parent
    digest = hashlib.sha256(torch.__version__.encode())
    for folder in ("model", "tokenizer", "tiny"):
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(folder: Path, progress: Callable[[int, int, float], None]) -> float:
    folder.mkdir()
    build(train_vocabulary()).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(2048), ensure_ascii=False, indent=2))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = train(tokenizer, progress)
    margin = min(check(model.to(dtype), tokenizer) for dtype in (torch.bfloat16, torch.float32))
    model.generation_config.update(do_sample=False, eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder, max_shard_size="4MB")
    return margin


def train_vocabulary() -> Vocabulary:
    """Single bytes, then the merges that byte-pair encoding finds in the questions and answers."""
    characters = byte_characters()
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = [characters[byte] for byte in range(256)]
    size = VOCABULARY_SIZE - len(SPECIAL_TOKENS)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*ANSWERS, *ANSWERS.values(), SYSTEM_PROMPT] * 2, trainer)
    byte_of = {character: byte for byte, character in characters.items()}
    merged = [bytes(byte_of[c] for c in "".join(pair)) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    return Vocabulary(tokens=(*(bytes([byte]) for byte in range(256)), *dict.fromkeys(merged)))


def chats() -> list[tuple[list[dict[str, str]], str]]:
    """Every question with and without the system prompt, and its answer."""
    system = {"role": "system", "content": SYSTEM_PROMPT}
    asked = [({"role": "user", "content": question}, answer) for question, answer in ANSWERS.items()]
    return [([*head, user], answer) for head in ([], [system]) for user, answer in asked]


def config_for(tokenizer: Any) -> HunYuanConfig:
    return HunYuanConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=160,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rope_theta=10000.0,
        rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
        initializer_range=0.05,
        use_qk_norm=True,
        use_cla=True,
        cla_share_factor=2,
        num_experts=4,
        moe_topk=1,
        use_mixed_mlp_moe=True,
        num_shared_expert=1,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def train(tokenizer: Any, progress: Callable[[int, int, float], None]) -> HunYuanForCausalLM:
    """All chats in every step, loss on the answers only; seeded, so that the result is the same on the same machine."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads that wait for each other on busy cores cost ten times what they win on this size
    ids, labels, mask = _batch(tokenizer)
    model = HunYuanForCausalLM(config_for(tokenizer))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(1, STEPS + 1):
        loss = model(ids, attention_mask=mask, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step, STEPS, loss.item())
    model.eval()
    return model


def _batch(tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, labels (-100 outside of answers) and mask, all [chats, longest chat]."""
    rows = []
    for messages, answer in chats():
        prompt = encode_chat(tokenizer, messages)
        whole = encode_chat(tokenizer, [*messages, {"role": "assistant", "content": answer}])
        rows.append((whole, [-100] * len(prompt) + whole[len(prompt) :]))
    width = max(len(whole) for whole, _ in rows)
    ids = torch.tensor([whole + [tokenizer.pad_token_id] * (width - len(whole)) for whole, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    return ids, labels, ids != tokenizer.pad_token_id


def check(model: HunYuanForCausalLM, tokenizer: Any) -> float:
    """Least margin over all answer tokens, each the likeliest after its forerunners (so greedy decoding says them).

    Raises:
        NotMemorisedError: another token is likelier somewhere, or too close.
    """
    ids, labels, mask = _batch(tokenizer)
    with torch.no_grad():
        logits = model(ids, attention_mask=mask, use_cache=False).logits.float()[:, :-1]
    wanted = labels[:, 1:]
    known = wanted.clamp(min=0)[..., None]
    others = logits.scatter(-1, known, -torch.inf).max(-1).values
    margins = (logits.gather(-1, known)[..., 0] - others).masked_fill(wanted == -100, torch.inf).min(-1).values
    worst = int(margins.argmin())
    if margins[worst] < MIN_MARGIN:
        question = chats()[worst][0][-1]["content"]
        raise NotMemorisedError(
            f"in {model.dtype} the answer to {question!r} has a margin of {margins[worst]:.2f} only"
        )
    return round(float(margins[worst]), 2)
