"""Every generated file of the repository, as text."""

from pathlib import PurePosixPath
from typing import Any

import yaml

from hunyuan_operator.crdgen.deployment import DEPLOYMENT
from hunyuan_operator.crdgen.finetune import FINE_TUNE
from hunyuan_operator.crdgen.reasons import reasons_page

_HEADER = "# Generated from the models in operator/hunyuan_operator/api by `make generate`; don't edit.\n"
_FOLDERS = ("crds", "charts/hunyuan-operator/files/crds")
"""Helm packages only what lies in the chart, so it has a copy: a template of it, since `crds/` is never upgraded."""


def generated() -> dict[PurePosixPath, str]:
    crds = [definition.crd() for definition in (DEPLOYMENT, FINE_TUNE)]
    files = {
        PurePosixPath(folder, f"{crd['metadata']['name']}.yaml"): _text(crd) for crd in crds for folder in _FOLDERS
    }
    return files | {PurePosixPath("docs/reasons.md"): reasons_page()}


def _text(crd: dict[str, Any]) -> str:
    return _HEADER + yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)
