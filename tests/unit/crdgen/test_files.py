"""The generated files: up to date in the repository, and refused by the gate when they are not."""

from pathlib import Path, PurePosixPath

import pytest
import yaml
from click.testing import CliRunner
from hunyuan_operator.api.reasons import ConditionType, EventReason, FailureReason, Reason
from hunyuan_operator.crdgen.__main__ import main
from hunyuan_operator.crdgen.files import generated

from hunyuan_runtime.termination import Cause

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", generated(), ids=str)
def test_the_repository_holds_what_would_be_generated(path: PurePosixPath) -> None:
    assert (ROOT / path).read_text() == generated()[path], "run `make generate`"


def test_a_second_run_writes_nothing_and_the_check_agrees(tmp_path: Path) -> None:
    root = ["--root", str(tmp_path)]
    first, second = CliRunner().invoke(main, root), CliRunner().invoke(main, root)
    assert first.output.count("wrote") == len(generated())
    assert (second.exit_code, second.output) == (0, "")
    assert CliRunner().invoke(main, [*root, "--check"]).exit_code == 0


def test_the_check_names_what_differs_and_writes_nothing(tmp_path: Path) -> None:
    root = ["--root", str(tmp_path)]
    CliRunner().invoke(main, root)
    page = tmp_path / "docs/reasons.md"
    page.write_text("by hand")
    check = CliRunner().invoke(main, [*root, "--check"])
    assert check.exit_code == 1
    assert "docs/reasons.md" in check.output
    assert "crds/" not in check.output
    assert page.read_text() == "by hand"


def test_the_page_of_reasons_explains_every_word_that_status_can_hold() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    words = [*ConditionType, *Reason, *FailureReason, *EventReason, *(cause.name for cause in Cause)]
    assert not [word for word in words if f"| `{word}` |" not in page]


def test_the_first_column_after_the_name_is_ready() -> None:
    [version] = yaml.safe_load((ROOT / "crds/hunyuandeployments.hunyuan.dev.yaml").read_text())["spec"]["versions"]
    assert version["additionalPrinterColumns"][0]["name"] == "Ready"
