"""Long prompts: far positions, needles at every depth, prefill in chunks, prompts that share their beginning."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import stack
from tests.engine import needles
from tests.engine.engines import Outcome, Trial, run_trials
from tests.engine.test_vllm_model import assert_same_as_reference, make_checkpoint

pytestmark = pytest.mark.engine

LONG = 16384
RANDOM_LONG = 6000
CHUNKS = (256, LONG + 64)
"""Tokens of a prefill step; the last takes any prompt at once."""
POSITIONS = [0, 1, 8191, 32767, 131071, 262143]
LONG_ROPE = {"max_position_embeddings": 131072}


def options(chunk: int, *, prefix_caching: bool = True) -> dict[str, Any]:
    return {
        "max_model_len": LONG + 64,
        "max_num_batched_tokens": chunk,
        "enable_chunked_prefill": True,
        "enable_prefix_caching": prefix_caching,
        "max_num_seqs": 1,
        "kv_cache_memory_bytes": 64 << 20,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("long-context")


@pytest.fixture(scope="module")
def random_model(folder: Path) -> Path:
    return make_checkpoint(folder / "random", LONG_ROPE)


@pytest.fixture(scope="module")
def outcomes(folder: Path, random_model: Path) -> dict[str, Outcome]:
    """Everything that this module asks of engines."""
    hay, _ = needles.haystack(LONG)
    questions = [[*hay, needles.QUESTION + key] for key in range(needles.KEYS)]
    found = str(needles.make_model(folder / "needles", needles.ALPHA))
    plain = str(needles.make_model(folder / "plain"))
    text = [token % 500 for token in hay[:RANDOM_LONG]]
    again = [text, [*text, 7], [*text, 8]]
    trials = {
        f"chunks of {chunk}": Trial(model=str(random_model), prompts=[text], new_tokens=8, options=options(chunk))
        for chunk in CHUNKS
    }
    for name, caching in (("with prefix caching", True), ("without", False)):
        chosen = options(2048, prefix_caching=caching)
        trials[name] = Trial(model=str(random_model), prompts=again, new_tokens=8, options=chosen)
    trials["needles"] = Trial(model=found, prompts=questions, new_tokens=1, options=options(2048))
    trials["plain rope"] = Trial(model=plain, prompts=questions, new_tokens=1, options=options(2048))
    return run_trials(trials, folder)


def test_far_positions_are_turned_as_in_the_reference() -> None:
    command = [sys.executable, "-m", "tests.engine.far_rotation", json.dumps(POSITIONS)]
    done = subprocess.run(command, cwd=stack.ROOT, check=True, capture_output=True, text=True)
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-6


def test_needles_are_found_from_the_first_position_to_the_last(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["needles"]
    assert not outcome.failure, outcome.failure
    _, answers = needles.haystack(LONG)
    assert [ids[0] for ids in outcome.ids] == answers
    assert all(logprob > -0.01 for [logprob] in outcome.logprobs)


def test_without_alpha_far_needles_would_be_lost(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["plain rope"]
    assert not outcome.failure, outcome.failure
    _, answers = needles.haystack(LONG)
    found = [ids[0] == answer for ids, answer in zip(outcome.ids, answers, strict=True)]
    assert not all(found)
    assert found[-1], "the nearest one is"


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_prefill_in_chunks_says_what_transformers_says(
    chunk: int, outcomes: dict[str, Outcome], random_model: Path
) -> None:
    assert_same_as_reference(outcomes[f"chunks of {chunk}"], random_model)


def test_a_shared_beginning_is_computed_once_and_changes_nothing(outcomes: dict[str, Outcome]) -> None:
    shared, alone = outcomes["with prefix caching"], outcomes["without"]
    assert not shared.failure + alone.failure, shared.failure + alone.failure
    assert shared.ids == alone.ids
    assert [sum(cached > RANDOM_LONG - 200 for cached in one.cached) for one in (shared, alone)] == [2, 0]
    for ours, theirs in zip(shared.logprobs, alone.logprobs, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
