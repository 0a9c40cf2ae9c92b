"""Which files of a repository's folder make a model. Code is never among them."""

from collections.abc import Iterable
from fnmatch import fnmatch

from hunyuan_runtime.fetch.hub import RemoteFile

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The first of these that fits any file."""
_OTHERS = ("*.json", "*.tiktoken", "*.jinja", "tokenizer.model", "vocab.*", "merges.txt")


def select(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """The model's files, the largest first; none when there are no weights or no config.json."""
    files = list(files)
    weights = next(filter(None, ([f for f in files if fnmatch(f.name, pattern)] for pattern in _WEIGHTS)), [])
    others = [file for file in files if any(fnmatch(file.name, pattern) for pattern in _OTHERS)]
    if not weights or not any(file.name == "config.json" for file in others):
        return []
    return sorted([*weights, *others], key=lambda file: (-file.size, file.name))
