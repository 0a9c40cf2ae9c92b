"""The two halves agree on which of vLLM's options are not the user's to set."""

import pytest
from hunyuan_operator.api.deployment import Engine
from hunyuan_operator.api.engine_args import FLAGS, OWNED_OPTIONS, spellings
from pydantic import ValidationError

from hunyuan_runtime.serve.engine_args import OWNED


def test_the_api_refuses_what_the_runtime_refuses() -> None:
    assert OWNED_OPTIONS.keys() == OWNED


def test_an_option_is_refused_in_each_way_in_which_the_parser_would_read_it() -> None:
    assert spellings("max-model-len") == ["max-model-len", "max_model_len"]
    assert spellings("port") == ["port"]


def test_flags_are_among_the_refused() -> None:
    assert not FLAGS - OWNED_OPTIONS.keys()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("max_model_len", "max-model-len is set by spec.maxModelLen"),
        ("--port", "port is the runtime's own and can't be set"),
        ("no-trust-remote-code", "trust-remote-code is the runtime's own"),
        ("data_parallel-size", "data-parallel-size is set by spec.groups"),
        ("config.a", "config is the runtime's own"),
    ],
)
def test_ways_that_the_api_server_does_not_see_are_refused_too(name: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Engine.model_validate({"extraArgs": {name: "x"}})


@pytest.mark.parametrize("name", ["load-format", "root_path", "config-format", "no-enable-prefix-caching"])
def test_whatever_else_vllm_has_may_be_set(name: str) -> None:
    assert Engine.model_validate({"extraArgs": {name: "x"}}).extra_args == {name: "x"}
