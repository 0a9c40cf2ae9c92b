"""A tiny model of Hunyuan-Large's architecture that knows a few answers by heart: it shows wrong wiring."""

from hunyuan_runtime.tiny.model import NotMemorisedError, make_tiny_model

__all__ = ["NotMemorisedError", "make_tiny_model"]
