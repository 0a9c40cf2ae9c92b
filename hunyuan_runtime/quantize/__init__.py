"""Make an FP8 checkpoint (static W8A8, scales for an FP8 cache) of a BF16 one.

Two passes, both resumed after a kill:

1. :mod:`calibration` runs the prompts through one decoder layer after the other and measures the scales.
2. :mod:`output` writes the quantised weights, some gigabytes at a time.

``OUT`` appears whole: all work is done in a folder beside it, which is renamed at the end.
"""

from hunyuan_runtime.quantize.formats import Format
from hunyuan_runtime.quantize.run import Job, Summary, check_source, quantize

__all__ = ["Format", "Job", "Summary", "check_source", "quantize"]
