"""The files that a node's containerd, CNI plugins and kubelet read. Pure."""

import json
from typing import Any

import yaml

from tests.cluster.network import DNS
from tests.cluster.nodes import Node
from tests.cluster.paths import PKI


def system_image(program: str, key: str) -> str:
    """The reference of a one-program image; ``key`` is the hash of what the program was built from."""
    return f"localhost/{program}:{key}"


def containerd(pause_image: str) -> str:
    """The folders are the usual ones: each node has its own mounted there.

    Its "opt" plugin is off because it would make a folder on the machine; the out-of-memory score is left alone because
    raising one's own importance takes a capability that root in a virtual machine's sandbox may lack.
    """
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause_image}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def pod_network(node: Node) -> str:
    """A cable for each pod and no bridge: then all of a pod's traffic is routed, so that Services also work between two
    pods of one node on kernels that don't filter bridged packets."""
    plugins: list[dict[str, Any]] = [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": node.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "hunyuan-testbed", "plugins": plugins}, indent=1)


def kubelet(node: Node) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.cgroup}",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(PKI / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [DNS],
            "clusterDomain": "cluster.local",
            "resolvConf": "",  # the machine's name servers are out of a pod's reach
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "failSwapOn": False,
            # Images are loaded by hand: one that the kubelet removed to save space would not come back.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
        }
    )
