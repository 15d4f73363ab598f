"""Modulated deformable convolution (DCNv2), without a compiled extension.

X. Zhu et al., "Deformable ConvNets v2", arXiv 1811.11168, equation 1: a 3×3 convolution that
reads x(p + p_k + Δp_k)·m_k in place of x(p + p_k), with learned offsets Δp_k and masks m_k of
every tap k; bilinear between pixels, zero outside the map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

TAPS = 9
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(row, column) of the four pixels around a point, relative to the one above and left of it."""


class DeformableConv(nn.Module):
    """A 3×3 deformable convolution that computes its offsets and masks from its input.

    Before training, the offsets are 0 and the masks one half.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        plain = nn.Conv2d(inputs, outputs, 3)
        self.weight = plain.weight
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.offset = nn.Conv2d(inputs, 3 * TAPS, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        offset, mask = self.offset(x).split((2 * TAPS, TAPS), dim=1)
        return deform_conv2d(x, offset, mask.sigmoid(), self.weight, self.bias)


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 deformable convolution of stride 1 and padding 1.

    Uses torchvision's operator on a GPU, if it is installed. On a CPU `gathered_conv2d` is faster,
    and exported models use it.

    x: (B, C, H, W); offset: (B, 18, H, W) in pixels, (y, x) of tap after tap; mask: (B, 9, H, W).
    weight: (outputs, C, 3, 3); bias: (outputs,). Returns (B, outputs, H, W).
    """
    compiled = _compiled() if x.is_cuda and not _traced() else None
    if compiled is None:
        return gathered_conv2d(x, offset, mask, weight, bias)
    # Its kernel computes positions in the type of x. Half precision has no fractions for the
    # columns of a wide map.
    values = compiled(
        *(tensor.float() for tensor in (x, offset, weight, bias)), padding=1, mask=mask.float()
    )
    return values.to(x.dtype)


def gathered_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """`deform_conv2d` in plain PyTorch operators, with the gradients of torchvision's.

    Positions and samples are at least float32. In half precision, neighbouring columns of a wide
    map would have equal positions.
    """
    batch, channels, height, width = x.shape
    precision = torch.promote_types(offset.dtype, torch.float32)
    dy, dx = offset.to(precision).view(batch, TAPS, 2, height, width).permute(2, 0, 3, 4, 1)
    tap = torch.arange(TAPS, device=x.device)
    rows = torch.arange(height, device=x.device).view(-1, 1, 1)
    columns = torch.arange(width, device=x.device).view(-1, 1)
    top, below = _cell(rows + tap // 3 - 1 + dy, height)
    left, right = _cell(columns + tap % 3 - 1 + dx, width)

    # One pixel of zeros before the map and two behind it, because positions go up to its size.
    padded = F.pad(x.to(precision), (1, 2, 1, 2)).permute(0, 2, 3, 1)
    pitch = width + 3
    image = torch.arange(batch, device=x.device).view(-1, 1, 1, 1) * (height + 3)
    first = (image + top + 1) * pitch + left + 1
    pixels = torch.stack([first + row * pitch + column for row, column in CORNERS], dim=-1)
    shares = torch.stack(
        [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right], -1
    )
    shares = shares * mask.to(precision).permute(0, 2, 3, 1)[..., None]
    samples = _weighted_rows(
        padded.reshape(-1, channels), pixels.view(-1, len(CORNERS)), shares.view(-1, len(CORNERS))
    )

    kernel = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
    result = F.linear(samples.view(-1, TAPS * channels).to(weight.dtype), kernel, bias)
    return result.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _cell(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixel at or before a position along one axis, −1 to `size`, and the distance from it.

    A position outside −1 to `size` has no share in the map, and no gradient.
    """
    position = position.clamp(-1, size)
    # The second clamp is for positions that are NaN; the result becomes NaN, too.
    before = position.detach().floor().long().clamp(-1, size)
    return before, position - before


def _weighted_rows(rows: Tensor, index: Tensor, shares: Tensor) -> Tensor:
    """Sums of four rows each: rows (R, C), index and shares (N, 4), to (N, C)."""
    if _traced() or (shares.requires_grad and not rows.requires_grad):
        # ONNX: an embedding bag becomes a loop over N. PyTorch 2.4: no gradient for shares alone.
        return sum(rows[index[:, i]] * shares[:, i, None] for i in range(index.shape[1]))
    # In one pass: several times as fast as the sum, with a third of its memory in training.
    return F.embedding_bag(index, rows, mode="sum", per_sample_weights=shares)


def _traced() -> bool:
    return torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()


@cache
def _compiled() -> Callable[..., Tensor] | None:
    """torchvision's operator; None if there is none for this PyTorch."""
    try:
        from torchvision.ops import deform_conv2d
    except (ImportError, OSError, RuntimeError):
        return None
    return deform_conv2d
