"""The graph on a GPU, without one: fake CUDA tensors have a device and a shape, but no values."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from km3d_ros.inference import decode
from km3d_ros.inference.detections import columns
from km3d_ros.inference.graph import DetectorGraph, tensors
from km3d_ros.inference.graph_inputs import GraphInputs
from km3d_ros.network.km3dnet import KM3DNet
from km3d_ros.network.spec import MAX_DETECTIONS
from km3d_ros.training.initial_weights import new_spec

pytestmark = pytest.mark.skipif(
    torch.__version__ < (2, 5), reason="fake tensors of PyTorch 2.4 start CUDA"
)

CUDA = torch.device("cuda:0")
IMAGES = 2
WAITS = (RuntimeError, DynamicOutputShapeException, DataDependentOutputException)


class FakeGpu(FakeTensorMode):
    """Refuses, once `watches` is set, copies between host and GPU: they make the host wait.

    Values of its tensors cannot be read at any time, because there are none.
    """

    watches = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(func, types, args, kwargs)
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        if self.watches and len({tensor.device for tensor in tensors if tensor.ndim}) > 1:
            raise RuntimeError(f"{func} copies between host and GPU")
        return result


class WithoutDeviceGuard(TorchFunctionMode):
    """Indexing as single operations.

    `Tensor.__getitem__` asks for the device guard of CUDA, which CPU builds of PyTorch lack.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (
            indexed(*args) if func is torch.Tensor.__getitem__ else func(*args, **(kwargs or {}))
        )


def indexed(tensor, index):
    index = list(index) if isinstance(index, tuple) else [index]
    if any(item is Ellipsis for item in index):
        at = next(i for i, item in enumerate(index) if item is Ellipsis)
        missing = tensor.ndim - sum(item is not None for item in index) + 1
        index[at : at + 1] = [slice(None)] * missing
    dim, lists = 0, []
    for item in index:
        if isinstance(item, int):
            tensor = tensor.select(dim, item)
            continue
        if item is None:
            tensor = tensor.unsqueeze(dim)
        elif isinstance(item, slice):
            tensor = torch.ops.aten.slice(tensor, dim, item.start, item.stop, item.step or 1)
        lists.append(item if isinstance(item, torch.Tensor) else None)
        dim += 1
    return tensor if all(item is None for item in lists) else torch.ops.aten.index(tensor, lists)


def on_cuda(tensor):
    """As `Tensor.to(CUDA)`, which asks for a real GPU."""
    return torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device=CUDA, requires_grad=False
    )


def move(graph):
    """As `Module.to(CUDA)`: parameters and buffers move, other tensors stay."""
    for module in graph.modules():
        for name, value in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(on_cuda(value), requires_grad=False)
        for name, value in module.named_buffers(recurse=False):
            module._buffers[name] = on_cuda(value)


@pytest.fixture
def no_constants_left():
    """Constants of the fake GPU are of no use to other tests."""
    decode._constant.cache_clear()
    yield
    decode._constant.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("architecture", ["lite", "res_18", "dla_34"])
def test_graph_stays_on_the_gpu_and_never_makes_the_host_wait(
    architecture, dtype, no_constants_left
):
    spec = new_spec(architecture, (64, 160))
    graph = DetectorGraph(KM3DNet(spec), spec, dtype).eval()
    inputs = tensors(GraphInputs.zeros(IMAGES, spec))
    with FakeGpu() as gpu, WithoutDeviceGuard(), torch.no_grad():
        move(graph)
        graph(*map(on_cuda, inputs))  # the first run copies constants to the GPU
        gpu.watches = True
        tables = graph(*map(on_cuda, inputs))
    width = max(part.stop for part in columns().values())
    for table in tables:
        assert table.shape == (IMAGES, MAX_DETECTIONS, width)
        assert (table.device, table.dtype) == (CUDA, torch.float32)


@pytest.mark.parametrize(
    "operation",
    [
        lambda t: t.sum().item(),
        lambda t: bool(t.any()),
        lambda t: t.tolist(),
        lambda t: t.numpy(),
        lambda t: t.cpu(),
        lambda t: t[t > 0],
        lambda t: t + torch.ones(3),
        lambda t: t[torch.tensor([0, 2])],
    ],
)
def test_operations_that_make_the_host_wait_are_noticed(operation):
    with FakeGpu() as gpu, WithoutDeviceGuard():
        gpu.watches = True
        values = torch.ones(3, device=CUDA)
        assert (values + 1).device == CUDA
        with pytest.raises(
            (RuntimeError, DynamicOutputShapeException, DataDependentOutputException)
        ):
            operation(values)
