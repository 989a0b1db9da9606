"""Training on two processors that are no GPUs: ultralytics' own way of starting ranks, with gloo in place of NCCL."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.utils import LOCAL_RANK, RANK


class CpuRanks(SegmentationTrainer):  # type: ignore[misc]
    """ultralytics' trainer with two ranks on the CPU; imports nothing of Lineside."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.world_size = 2
        self.ddp = LOCAL_RANK == -1

    def _setup_ddp(self) -> None:
        """Joins the group; DistributedDataParallel wants no device ids on a CPU, and ultralytics gives some."""
        self.device = torch.device("cpu")
        distributed.init_process_group("gloo", rank=RANK, world_size=self.world_size)
        wrapper = nn.parallel.DistributedDataParallel

        def on_cpu(model: nn.Module, device_ids: Any = None, **options: Any) -> nn.Module:
            return wrapper(model, **options)

        nn.parallel.DistributedDataParallel = on_cpu  # type: ignore[assignment, misc]

    def _do_train(self) -> None:
        """Leaves the group together: ultralytics lets each rank end alone, and gloo may abort one that is left."""
        super()._do_train()
        distributed.barrier()
        distributed.destroy_process_group()

    def final_eval(self) -> None:
        """Left out: with several ranks ultralytics looks for a GPU there."""
