"""Programs of the machine, called with argument lists; a failure says which call failed and what it printed."""

import subprocess


def run(*command: str, stdin: str | None = None) -> str:
    """Run ``command`` and return what it printed.

    Raises:
        RuntimeError: it failed or is not there.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise RuntimeError(f"{command[0]} is not installed") from missing
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
