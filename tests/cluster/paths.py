"""Where the test bed keeps things.

Two folders: the cache holds what is costly to make again and survives ``down``; the state is the running cluster and
goes with it. The state's place is fixed, because a machine can hold only one test bed, whichever checkout started it.
"""

import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hunyuan-operator"
MODELS = CACHE / "models"
"""One folder for all nodes, offered to pods as a hostPath volume; kept, since the model in it is costly to train."""

STATE = Path("/var/lib/hunyuan-testbed")
LOGS = STATE / "log"
AUDIT_LOG = LOGS / "audit.log"
"""The operator's writes, an event a line; see ``manifests/audit-policy.yaml``."""
SMALL_VOLUME = STATE / "small-volume"
"""A folder for all nodes as MODELS is, but on a disk of its own that a test can fill up."""
PKI = STATE / "pki"
NAMESPACES = STATE / "namespaces"
KUBECONFIGS = STATE / "kubeconfigs"
ADMIN_KUBECONFIG = KUBECONFIGS / "admin"
