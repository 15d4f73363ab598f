"""The published small backbone: ResNet-18 and three transposed convolutions back to stride 4.

ResNet: K. He et al., arXiv 1512.03385; the transposed convolutions: B. Xiao et al., "Simple
baselines", arXiv 1804.06208. The residual part has torchvision's names, so that its ImageNet
weights load unchanged.
"""

from __future__ import annotations

from torch import Tensor, nn

from km3d_ros.network.layers import Block

UPSAMPLED_CHANNELS = 256


class BasicBlock(Block):
    """A block whose shortcut is projected if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(inputs, outputs, stride)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        return super().forward(x, self.downsample(x))


class ResNet18(nn.Module):
    """(B, 3, H, W) images to (B, 256, H/4, W/4) features; H and W are multiples of 32."""

    out_channels = UPSAMPLED_CHANNELS
    head_width = 64

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2)
        self.upsample = nn.Sequential(*_double(512), *_double(256), *_double(256))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images to the features of the heads."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.upsample(x)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))


def _double(inputs: int) -> tuple[nn.Module, ...]:
    """Layers that double the resolution."""
    return (
        nn.ConvTranspose2d(inputs, UPSAMPLED_CHANNELS, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(UPSAMPLED_CHANNELS),
        nn.ReLU(inplace=True),
    )
