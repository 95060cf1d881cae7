"""Modules of somebody else's, as `holdfast export support.foreign:NAME` builds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, silu

from holdfast.bundle import Bundle

PLAIN = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
NOT_A_MODULE = 7


class Mixed(nn.Module):
    """What no network of Holdfast has: group, layer and instance norm, attention, and the like."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.group = nn.GroupNorm(2, 8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.pointwise = nn.Conv2d(8, 16, 1)
        self.batch = nn.BatchNorm2d(16)
        self.pool = nn.AvgPool2d(2)
        self.layer = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, num_classes)
        self.gain = torch.full((16,), 0.5)  # neither a parameter nor a buffer

    def forward(self, x: Tensor) -> Tensor:
        x = gelu(self.group(self.stem(x)))
        x = silu(self.batch(self.pointwise(self.instance(self.depthwise(x)))))
        tokens = self.pool(x).flatten(2).transpose(1, 2)
        tokens = self.layer(tokens) * self.gain * torch.tensor([1.0, 2.0] * 8)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        out: Tensor = self.head(self.drop(tokens.mean(1)))
        return out


class Small(nn.Module):
    """One convolution; ``kind`` says what is wrong with it."""

    def __init__(self, kind: str = "right", num_classes: int = 10) -> None:
        super().__init__()
        self.kind = kind
        self.convolution = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4, track_running_stats=kind != "mixing")
        self.head = nn.Linear(64, 1 if kind == "single" else num_classes)
        if kind == "constant":
            nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor] | dict[str, Tensor]:
        features = torch.relu(self.norm(self.convolution(x))).flatten(1)
        logits: Tensor = self.head(features)
        if self.kind == "dict":
            return {"features": features[0], "logits": logits}
        if self.kind == "tuple":
            return logits, features
        if self.kind == "chance":
            return dropout(logits)
        if self.kind == "nan":
            return logits / torch.zeros_like(logits)
        if self.kind == "image":
            return x
        if self.kind == "branch" and bool(logits.sum() > 0):
            return logits
        if (
            self.kind == "gradient"
        ):  # its derivative scatters by position, for which no decomposition is known
            grid = torch.stack([x.flatten(1)[:, :2]] * 16, 1).view(-1, 4, 4, 2)
            return (
                logits
                + torch.nn.functional.grid_sample(x, grid, align_corners=False).mean((1, 2, 3))[:, None]
            )
        return logits


def fails() -> nn.Module:
    """Nothing comes of it."""
    raise ZeroDivisionError("no module today")


@dataclass(frozen=True)
class Foreign:
    """A module, and the bundle that was made of it."""

    module: nn.Module
    bundle: Bundle
