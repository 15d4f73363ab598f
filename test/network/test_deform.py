from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from km3d_ros.network import deform
from km3d_ros.network.deform import DeformableConv, gathered_conv2d


def arguments(batch=2, inputs=3, outputs=4, size=(5, 7), reach=2.0, dtype=torch.float32):
    """Random x, offset, mask, weight and bias; offsets have a standard deviation of `reach`."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    mask = random(batch, 9, *size).sigmoid()
    return (
        random(batch, inputs, *size),
        random(batch, 18, *size) * reach,
        mask,
        random(outputs, inputs, 3, 3),
        random(outputs),
    )


def sample(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """(C, H, W) at one point, bilinear, zero outside."""
    value = np.zeros(len(image))
    for row, column in product(range(image.shape[1]), range(image.shape[2])):
        share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
        value += share * image[:, row, column]
    return value


def by_the_definition(x, offset, mask, weight, bias) -> np.ndarray:
    """One output pixel, one tap, one sample at a time."""
    result = np.zeros((len(x), len(weight), *x.shape[2:]))
    for b, row, column in product(range(len(x)), range(x.shape[2]), range(x.shape[3])):
        total = bias.copy()
        for tap in range(9):
            dy, dx = offset[b, 2 * tap : 2 * tap + 2, row, column]
            value = sample(x[b], row + tap // 3 - 1 + dy, column + tap % 3 - 1 + dx)
            total += mask[b, tap, row, column] * (weight[:, :, tap // 3, tap % 3] @ value)
        result[b, :, row, column] = total
    return result


@pytest.mark.parametrize(("size", "reach"), [((5, 7), 2.0), ((4, 3), 20.0), ((1, 1), 0.5)])
def test_deformable_convolution_is_what_its_definition_says(size, reach):
    given = arguments(size=size, reach=reach, dtype=torch.float64)
    expected = by_the_definition(*(value.numpy() for value in given))
    np.testing.assert_allclose(gathered_conv2d(*given), expected, rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    given = arguments(batch=1, inputs=2, outputs=1, size=(2, 3), dtype=torch.float64)
    assert torch.autograd.gradcheck(gathered_conv2d, [g.requires_grad_() for g in given])


def test_without_offsets_and_masks_it_is_a_convolution():
    x, offset, mask, weight, bias = arguments()
    result = gathered_conv2d(x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias)
    expected = F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_offsets_are_rows_and_columns_and_fade_out_beyond_the_border():
    x = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    weight, bias = torch.zeros(1, 1, 3, 3), torch.zeros(1)
    weight[..., 1, 1] = 1  # the tap in the middle: offsets 8 (y) and 9 (x), mask 4

    def moved(dy, dx):
        offset = torch.zeros(1, 18, 2, 2)
        offset[:, 8], offset[:, 9] = dy, dx
        return gathered_conv2d(x, offset, torch.ones(1, 9, 2, 2), weight, bias)[0, 0].tolist()

    assert moved(1, 0) == [[4, 8], [0, 0]]
    assert moved(0, 1) == [[2, 0], [8, 0]]
    assert moved(0, -0.25) == [[0.75, 1.75], [3, 7]]
    assert moved(-0.5, 0) == [[0.5, 1], [2.5, 5]]
    assert moved(-2.5, 0) == [[0, 0], [0, 0]]
    assert moved(0, float("inf")) == [[0, 0], [0, 0]]


def test_an_offset_that_is_not_a_number_shows_where_it_is_and_nowhere_else():
    x, offset, mask, weight, bias = arguments()
    expected = gathered_conv2d(x, offset, mask, weight, bias)
    offset[0, 3, 2, 2] = float("nan")
    result = gathered_conv2d(x, offset, mask, weight, bias)
    expected[0, :, 2, 2] = float("nan")
    torch.testing.assert_close(result, expected, equal_nan=True)


def test_half_precision_loses_nothing_of_the_positions():
    torch.manual_seed(0)
    layer = DeformableConv(8, 8)
    torch.nn.init.uniform_(layer.offset.bias, -3, 3)
    x = torch.randn(1, 8, 4, 600)
    with torch.no_grad():
        expected = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            result = layer(x.bfloat16())
    assert (result.float() - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_an_untrained_layer_is_half_a_convolution():
    torch.manual_seed(0)
    layer, x = DeformableConv(3, 5), torch.randn(2, 3, 6, 4)
    expected = F.conv2d(x, layer.weight / 2, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


def test_an_exported_layer_is_made_of_operators_that_every_runtime_has():
    torch.manual_seed(0)
    layer, x = DeformableConv(3, 5).eval(), torch.randn(1, 3, 6, 4)
    torch.nn.init.uniform_(layer.offset.bias, -2, 2)
    program = torch.export.export(layer, (x,))
    assert "embedding_bag" not in program.graph_module.code
    assert "deform_conv2d" not in program.graph_module.code
    torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reach", [0.0, 0.3, 4.0])
def test_values_and_gradients_are_those_of_torchvision(reach):
    operator = deform._compiled()
    if operator is None:
        pytest.skip("no torchvision that fits this PyTorch")
    results = []
    for conv in (gathered_conv2d, operator):
        x, offset, mask, weight, bias = given = arguments(inputs=8, size=(9, 14), reach=reach)
        for value in given:
            value.requires_grad_()
        if conv is operator:
            result = conv(x, offset, weight, bias, padding=1, mask=mask)
        else:
            result = conv(*given)
        (result * torch.arange(result.numel()).view(result.shape).sin()).sum().backward()
        results.append([result.detach(), *(value.grad for value in given)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("conv", [gathered_conv2d, deform.deform_conv2d])
def test_values_and_gradients_on_a_gpu_are_those_on_the_cpu(conv):
    results = []
    for device in ("cpu", "cuda"):
        given = [value.to(device).requires_grad_() for value in arguments(inputs=8)]
        result = conv(*given)
        result.square().sum().backward()
        results.append([result.detach().cpu(), *(value.grad.cpu() for value in given)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-3)
