"""The test bed: a real Kubernetes on one Linux machine, for the demo and the tests.

etcd and the control plane are processes of the machine. A node is a network and a mount namespace with a containerd, a
kubelet and a kube-proxy of its own. All of it is found again by records on disk, so that any process can go on where an
earlier one ended: ``up`` starts what is missing, ``down`` ends everything.
"""

from tests.cluster.prerequisites import PrerequisitesMissing
from tests.cluster.testbed import Cluster, down, status, up

__all__ = ["Cluster", "PrerequisitesMissing", "down", "status", "up"]
