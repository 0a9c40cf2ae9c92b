"""What a failure has in common with itself when it happens again."""

import hashlib
import json
import re
import string

from hunyuan_operator.observe.end import End

_WORD = re.compile(r"[\w.:/+-]+")
_HEX = frozenset(string.hexdigits)


def fingerprint(end: End) -> str:
    """Eight hexadecimal digits of reason, exit code and message, but for what changes from one attempt to the next.

    Numbers, times, addresses, and the names of pods and of most nodes are words with a digit.
    """
    message = _WORD.sub(lambda word: "#" if _changes(word[0]) else word[0], end.message)
    content = json.dumps([end.reason, end.exit_code, message])
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def _changes(word: str) -> bool:
    return any(character.isdigit() for character in word) or (len(word) >= 8 and _HEX.issuperset(word))
