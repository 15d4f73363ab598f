import pytest
import torch

from km3d_ros.network.km3dnet import BACKBONES, KM3DNet
from km3d_ros.network.spec import HEAD_CHANNELS, ModelSpec


@pytest.mark.parametrize("architecture", sorted(BACKBONES))
def test_every_backbone_gives_dense_heads_at_stride_four(architecture):
    model = KM3DNet(ModelSpec(architecture, heads=tuple(HEAD_CHANNELS))).eval()
    maps = model(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        name: (1, channels, 16, 24) for name, channels in HEAD_CHANNELS.items()
    }


def test_heads_at_cells_equal_the_dense_maps_also_at_the_border():
    torch.manual_seed(0)
    model = KM3DNet(ModelSpec("lite")).eval()
    images = torch.randn(2, 3, 64, 96)
    batch, x, y = torch.tensor([[0, 1, 1, 0], [0, 23, 7, 12], [0, 15, 3, 15]])
    with torch.no_grad():
        dense = model(images)
        at_cells = model.regress(model.features(images), batch, x, y, ("hps", "dim", "rot"))
    for name, values in at_cells.items():
        torch.testing.assert_close(values, dense[name][batch, :, y, x], rtol=1e-4, atol=1e-5)


def test_no_cells_give_no_rows():
    model = KM3DNet(ModelSpec("lite")).eval()
    none = torch.empty(0, dtype=torch.int64)
    assert model.regress(torch.zeros(1, 64, 4, 4), none, none, none, ["hps"])["hps"].shape == (
        0,
        18,
    )


def test_heatmap_has_a_channel_per_class_and_starts_low():
    model = KM3DNet(ModelSpec("lite", classes=("Car", "Tram"))).eval()
    heatmap = model.heatmap(torch.zeros(1, 64, 4, 4))
    assert heatmap.shape == (1, 2, 4, 4)
    assert 0.05 < heatmap.sigmoid().mean().item() < 0.2
