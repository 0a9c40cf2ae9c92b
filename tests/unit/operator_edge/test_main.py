import os
import subprocess
import sys

import pytest


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **env}
    command = [sys.executable, "-m", "hunyuan_operator", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_help_needs_no_setting_and_names_them_all() -> None:
    result = run("--help")
    assert result.returncode == 0
    for variable in ("HUNYUAN_RUNTIME_IMAGE", "POD_NAMESPACE", "WATCH_NAMESPACES", "LOG_LEVEL"):
        assert variable in result.stdout


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "HUNYUAN_RUNTIME_IMAGE is not set"),
        ({"HUNYUAN_RUNTIME_IMAGE": "i", "POD_NAMESPACE": "n", "POD_NAME": "p", "WORKERS": "-1"}, "WORKERS is '-1'"),
    ],
)
def test_a_wrong_setting_is_said_in_words_and_ends_with_code_2(env: dict[str, str], message: str) -> None:
    result = run(**env)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
