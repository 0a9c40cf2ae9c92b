"""Training data: files of conversations, checked as a whole, encoded as the server will, in an order that survives.

``conversation`` parses a line, ``lines`` finds it, ``encoding`` makes ids and labels of it; ``order`` and ``packing``
say what comes when, ``training`` puts them together. ``inspection`` looks at a whole file before anything begins.
"""

from hunyuan_runtime.train.data.conversation import Message
from hunyuan_runtime.train.data.encoding import ChatEncoder
from hunyuan_runtime.train.data.reading import conversations
from hunyuan_runtime.train.data.training import Example, TrainingData, collate

__all__ = ["ChatEncoder", "Example", "Message", "TrainingData", "collate", "conversations"]
