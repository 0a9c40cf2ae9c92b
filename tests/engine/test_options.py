"""The options that are refused, against vLLM's own parser."""

import json
import subprocess
import sys

import pytest
from hunyuan_operator.api.engine_args import FLAGS, OWNED_OPTIONS

pytestmark = pytest.mark.engine

PARSER = """
import json
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
actions = make_arg_parser(FlexibleArgumentParser(prog="vllm", usage=""))._actions
print(json.dumps([[action.option_strings, action.nargs == 0] for action in actions]))
"""


@pytest.fixture(scope="module")
def options() -> list[tuple[set[str], bool]]:
    """Long names of each option, and whether it is a flag."""
    command = [sys.executable, "-c", PARSER]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    actions = json.loads(said.splitlines()[-1])
    return [({name[2:] for name in names if name.startswith("--")}, flag) for names, flag in actions]


def test_every_refused_option_exists(options: list[tuple[set[str], bool]]) -> None:
    assert OWNED_OPTIONS.keys() - {name for names, _ in options for name in names} == set()
    assert {name for names, flag in options for name in names & OWNED_OPTIONS.keys() if flag} == FLAGS


def test_a_refused_option_has_no_other_name(options: list[tuple[set[str], bool]]) -> None:
    """The runtime refuses the ``no-`` of each by itself."""
    others = {
        name.removeprefix("no-") for names, _ in options if names & OWNED_OPTIONS.keys() for name in names
    } - OWNED_OPTIONS.keys()
    assert others == set()


def test_no_other_option_is_of_a_family_that_is_refused(options: list[tuple[set[str], bool]]) -> None:
    """A new version of vLLM may bring more of them."""
    families = ("data-parallel", "dp-supervisor", "ssl-", "grpc", "h11-", "master-", "node-", "elastic-ep")
    found = {name for names, _ in options for name in names if name.startswith(families)}
    assert found - OWNED_OPTIONS.keys() == set()
