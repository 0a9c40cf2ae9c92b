"""Where the API serves the kinds that the operator touches."""

from dataclasses import dataclass

from hunyuan_operator.api import names


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``selector`` narrows lists and watches to what the operator made."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    selector: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = (part for part in (self.plural, name, subresource) if part)
        return f"{root}{scope}/{'/'.join(parts)}"


DEPLOYMENT, FINE_TUNE = (
    Kind(name=name, plural=f"{name.lower()}s", group=names.GROUP, version=names.VERSION)
    for name in (names.DEPLOYMENT_KIND, names.FINE_TUNE_KIND)
)
CHILDREN = tuple(
    Kind(name=name, plural=f"{name.lower()}s", group=group, selector=f"{names.MANAGED_BY}={names.FIELD_MANAGER}")
    for name, group in (
        ("Pod", ""),
        ("Job", "batch"),
        ("Service", ""),
        ("ConfigMap", ""),
        ("ServiceAccount", ""),
        ("PodDisruptionBudget", "policy"),
    )
)
WATCHED = (DEPLOYMENT, FINE_TUNE, *CHILDREN)
SECRET = Kind(name="Secret", plural="secrets")
EVENT = Kind(name="Event", plural="events", group="events.k8s.io")
LEASE = Kind(name="Lease", plural="leases", group="coordination.k8s.io")
POD_GROUPS = tuple(
    Kind(name=names.POD_GROUP_KIND, plural="podgroups", group=group, version=version)
    for group, version in (
        ("scheduling.volcano.sh", "v1beta1"),
        ("scheduling.x-k8s.io", "v1alpha1"),
        ("scheduling.k8s.io", "v1beta1"),
    )
)
"""Never watched: they need not be installed."""

BY_TYPE = {(kind.api_version, kind.name): kind for kind in (*WATCHED, SECRET, *POD_GROUPS)}
