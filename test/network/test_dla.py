import torch
import torch.nn.functional as F  # noqa: N812

from km3d_ros.network.dla import DLA34, bilinear_upsampling


def test_up_sampling_starts_as_bilinear_interpolation():
    x = torch.randn(1, 3, 5, 6)
    for factor in (2, 4):
        result = bilinear_upsampling(3, factor)(x)
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
        inside = (..., slice(factor, -factor), slice(factor, -factor))
        torch.testing.assert_close(result[inside], expected[inside], rtol=0, atol=1e-6)


def test_dla_34_has_the_parameters_of_the_published_one():
    parameters = sum(p.numel() for p in DLA34().parameters())
    assert parameters == 19_169_440
