import pytest
import torch
from torch import nn

from km3d_ros.network.folding import fold_batch_norms
from km3d_ros.network.km3dnet import BACKBONES


def trained_looking(architecture):
    """A backbone whose statistics are those of no fresh one."""
    torch.manual_seed(0)
    backbone = BACKBONES[architecture]().eval()
    for norm in backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.1)
    return backbone


@pytest.mark.parametrize("architecture", BACKBONES)
@torch.inference_mode()
def test_folded_network_says_the_same_without_normalisations(architecture):
    backbone = trained_looking(architecture)
    images = torch.randn(2, 3, 64, 96)
    folded, expected = fold_batch_norms(backbone), backbone(images)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone(images), expected, rtol=0, atol=0)
