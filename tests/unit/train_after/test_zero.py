"""Parameters come back from the ranks' flat vectors, whatever their sizes and however many ranks."""

from pathlib import Path

import pytest
import torch
from deepspeed.runtime.zero.config import ZeroStageEnum
from hypothesis import given, settings
from hypothesis import strategies as st

from hunyuan_runtime.merge import ZeroCheckpoint
from hunyuan_runtime.termination import Cause, RuntimeFailure
from tests.unit.train_after.zero_files import Groups, write_zero

SHAPES = st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=2), min_size=1, max_size=5)


def parameters(groups: list[list[list[int]]]) -> Groups:
    generator = torch.Generator().manual_seed(0)
    return [
        {f"p{number}.{index}": torch.randn(shape, generator=generator) for index, shape in enumerate(shapes)}
        for number, shapes in enumerate(groups)
    ]


@pytest.mark.parametrize("stage", [2, 3])
@settings(max_examples=40, deadline=None)
@given(groups=st.lists(SHAPES, min_size=1, max_size=3), ranks=st.integers(1, 5))
def test_every_parameter_comes_back(
    stage: int, groups: list[list[list[int]]], ranks: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = parameters(groups)
    folder = write_zero(tmp_path_factory.mktemp("zero") / "step", wanted, stage=stage, ranks=ranks)
    found = ZeroCheckpoint(folder, made_of="")
    every = {name: tensor for group in wanted for name, tensor in group.items()}
    assert found.shapes == {name: tuple(tensor.shape) for name, tensor in every.items()}
    for name, tensor in every.items():
        assert torch.equal(found.get(name), tensor), name


def test_a_missing_rank_is_named(tmp_path: Path) -> None:
    folder = write_zero(tmp_path / "step", parameters([[[4, 4]]]), stage=3, ranks=3)
    (folder / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(RuntimeFailure, match=r"ranks \[0, 2\]") as refused:
        ZeroCheckpoint(folder, made_of="")
    assert refused.value.cause is Cause.CheckpointInvalid
    (folder / "bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(RuntimeFailure, match="of 1 ranks instead of 3"):
        ZeroCheckpoint(folder, made_of="")


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    folder = write_zero(tmp_path / "step", parameters([[[64, 64]]]), stage=2, ranks=2)
    file = folder / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(RuntimeFailure, match=rf"{file.name} can't be read") as refused:
        ZeroCheckpoint(folder, made_of="").get("p0.0")
    assert refused.value.cause is Cause.CheckpointInvalid


class ByGetattr:
    """Pickled as Python 3.11.2 pickles the member of an enum."""

    def __init__(self, kind: type, name: str) -> None:
        self._kind, self._name = kind, name

    def __reduce__(self) -> tuple[object, tuple[type, str]]:
        return getattr, (self._kind, self._name)


def replace_stage(folder: Path, member: ByGetattr) -> None:
    for file in folder.glob("*_optim_states.pt"):
        content = torch.load(file, weights_only=False)
        content["optimizer_state_dict"]["zero_stage"] = member
        torch.save(content, file)


def test_an_enum_that_an_older_python_wrote_is_understood_and_no_other_attribute(tmp_path: Path) -> None:
    wanted = parameters([[[4, 4]]])
    folder = write_zero(tmp_path / "step", wanted, stage=3, ranks=2)
    replace_stage(folder, ByGetattr(ZeroStageEnum, "weights"))
    assert torch.equal(ZeroCheckpoint(folder, made_of="").get("p0.0"), wanted[0]["p0.0"])
    replace_stage(folder, ByGetattr(ZeroStageEnum, "mro"))
    with pytest.raises(RuntimeFailure, match="can't be read"):
        ZeroCheckpoint(folder, made_of="").get("p0.0")
