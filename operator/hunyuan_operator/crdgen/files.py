"""Every generated file of the repository, as text."""

from pathlib import PurePosixPath

import yaml

from hunyuan_operator.crdgen.deployment import deployment_crd
from hunyuan_operator.crdgen.reasons import reasons_page

_HEADER = "# Generated from the models in operator/hunyuan_operator/api by `make generate`; don't edit.\n"
_FOLDERS = ("crds", "charts/hunyuan-operator/files/crds")
"""Helm packages only what lies in the chart, so it has a copy: a template of it, since `crds/` is never upgraded."""


def generated() -> dict[PurePosixPath, str]:
    crd = deployment_crd()
    text = _HEADER + yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)
    files = {PurePosixPath(folder, f"{crd['metadata']['name']}.yaml"): text for folder in _FOLDERS}
    return files | {PurePosixPath("docs/reasons.md"): reasons_page()}
