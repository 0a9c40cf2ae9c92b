"""What a training changed, put into the base model: a folder of the base's layout that any loader takes.

:mod:`adapter` and :mod:`zero` say what changed, by tensor and one at a time; :mod:`run` writes. Memory is bounded by
one tensor in fp32, whatever the files' sizes.
"""

from hunyuan_runtime.merge.adapter import Adapter, make_adapter
from hunyuan_runtime.merge.run import DTYPES, Change, Job, Merged, merge
from hunyuan_runtime.merge.zero import ZeroCheckpoint

__all__ = ["DTYPES", "Adapter", "Change", "Job", "Merged", "ZeroCheckpoint", "make_adapter", "merge"]
