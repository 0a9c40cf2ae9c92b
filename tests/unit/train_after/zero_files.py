"""DeepSpeed checkpoints of known parameters, laid out as DeepSpeed does (compared in tests/engine/test_merge.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hunyuan_runtime.train.checkpoints import Manifest, folder_name, record, write_manifest

Groups = Sequence[Mapping[str, Tensor]]


def write_zero(folder: Path, groups: Groups, *, stage: int, ranks: int) -> Path:
    """As DeepSpeed's engine saves it, with what isn't read left out."""
    folder.mkdir(parents=True)
    vectors = _stage_3(groups, ranks) if stage == 3 else _stage_2(groups, ranks)
    key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
    count = ranks if stage == 3 else [ranks] * len(groups)
    for rank in range(ranks):
        state = {key: vectors[rank], "zero_stage": stage, "partition_count": count}
        if stage == 2:
            state["param_alignment_paddings"] = [[0] * len(group) for group in groups]
        name = f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": state}, folder / name)
    shapes = [{name: tensor.shape for name, tensor in group.items()} for group in groups]
    name = "zero_pp_rank_0_mp_rank_00_model_states.pt" if stage == 3 else "mp_rank_00_model_states.pt"
    torch.save({"param_shapes": shapes, "module": {}}, folder / name)
    return folder


def _stage_3(groups: Groups, ranks: int) -> list[list[Tensor]]:
    vectors: list[list[Tensor]] = [[] for _ in range(ranks)]
    for group in groups:
        cut = []
        for tensor in group.values():
            share = -(-tensor.numel() // ranks)
            padded = torch.cat([tensor.flatten(), torch.zeros(share * ranks - tensor.numel())])
            cut.append(torch.split(padded, share))
        for rank in range(ranks):
            vectors[rank].append(torch.cat([shares[rank] for shares in cut]))
    return vectors


def _stage_2(groups: Groups, ranks: int) -> list[list[Tensor]]:
    """The padding at the end of the last rank's vector isn't saved."""
    vectors: list[list[Tensor]] = [[] for _ in range(ranks)]
    for group in groups:
        flat = torch.cat([tensor.flatten() for tensor in group.values()])
        share = -(-flat.numel() // (2 * ranks)) * 2
        for rank in range(ranks):
            vectors[rank].append(flat[rank * share : (rank + 1) * share].clone())
    return vectors


def finish(folder: Path, step: int, ranks: int) -> Path:
    """With the manifest that makes it complete."""
    names = [path.name for path in folder.iterdir()]
    manifest = Manifest(step=step, world_size=ranks, batch=1, tokens=1, loss=0.5, files=record(folder, names))
    write_manifest(folder, manifest)
    return folder


def write_checkpoint(output: Path, groups: Groups, *, stage: int = 3, ranks: int = 2, step: int = 4) -> Path:
    folder = write_zero(output / "checkpoints" / folder_name(step), groups, stage=stage, ranks=ranks)
    return finish(folder, step, ranks)
