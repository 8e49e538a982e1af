"""The same network under PyTorch's DistributedDataParallel with gloo, on loopback."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as distributed
from common import (
    CENTRE,
    FILTERS,
    FRAMES_IN,
    FRAMES_OUT,
    LEARNING_RATE,
    pin,
    random_codes,
    serve,
    timed,
)
from torch import nn

MISSING = 65535


class DoubleConvolution(nn.Sequential):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__(
            nn.Conv2d(channels, filters, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """Layer for layer the network of ``hvd_nowcast.models.nowcast``."""

    def __init__(self) -> None:
        super().__init__()
        channels, self.down, self.up, self.merge = FRAMES_IN, *(nn.ModuleList() for _ in range(3))
        for filters in FILTERS:
            self.down.append(DoubleConvolution(channels, filters))
            channels = filters
        self.centre = DoubleConvolution(channels, CENTRE)
        channels = CENTRE
        for filters in reversed(FILTERS):
            self.up.append(nn.ConvTranspose2d(channels, filters, 2, stride=2))
            self.merge.append(DoubleConvolution(2 * filters, filters))
            channels = filters
        self.last = nn.Conv2d(channels, FRAMES_OUT, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        skips = []
        for down in self.down:
            features = down(features)
            skips.append(features)
            features = nn.functional.max_pool2d(features, 2)
        features = self.centre(features)
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([up(features), skips.pop()], 1))
        return self.last(features)


def main() -> None:
    folder, rank, address, layout = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    pin(rank)
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    memory = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    network = UNet().to(memory_format=memory)
    parameters = sum(p.numel() for p in network.parameters())
    (folder / f"{layout}.parameters").write_text(str(parameters))
    model = nn.parallel.DistributedDataParallel(network)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    codes = torch.from_numpy(random_codes(rank).astype("int32"))

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        known = (codes < MISSING).float()
        frames = torch.log(known * codes * (0.01 / 0.1) + 1.0) / 2.5
        parts = (part.split([FRAMES_IN, FRAMES_OUT], 1) for part in (frames, known))
        (inputs, target), (_, weight) = parts
        inputs, target, weight = (x.to(memory_format=memory) for x in (inputs, target, weight))
        loss = (weight * (model(inputs) - target) ** 2).sum() / weight.sum()
        loss.backward()
        optimiser.step()
        return loss.item()

    serve(folder, f"torch-{layout}", rank, lambda _, count: timed(step, count))
    distributed.destroy_process_group()


main()
