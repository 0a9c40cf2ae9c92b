"""The two halves agree on which of vLLM's options are not the user's to set."""

from hunyuan_operator.api.engine_args import FLAGS, OWNED_OPTIONS, spellings

from hunyuan_runtime.serve.engine_args import OWNED


def test_the_api_refuses_what_the_runtime_refuses() -> None:
    assert OWNED_OPTIONS.keys() == OWNED


def test_an_option_is_refused_in_each_way_in_which_the_parser_would_read_it() -> None:
    assert spellings("max-model-len") == ["max-model-len", "max_model_len"]
    assert spellings("port") == ["port"]


def test_flags_are_among_the_refused() -> None:
    assert not FLAGS - OWNED_OPTIONS.keys()
