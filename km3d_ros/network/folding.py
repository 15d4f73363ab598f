"""A network for inference only: batch normalisation folded into the convolutions before it."""

from __future__ import annotations

from copy import deepcopy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from km3d_ros.network.deform import DeformableConv


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy without batch normalisation, equal up to rounding.

    network: in evaluation mode; every batch normalisation follows a convolution.
    """
    network = deepcopy(network)
    graph = _Tracer().trace(network)
    for node in graph.nodes:
        norm = network.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(norm, nn.BatchNorm2d):
            source = node.args[0]
            conv = network.get_submodule(source.target)
            transposed = isinstance(conv, nn.ConvTranspose2d)
            parent, _, name = source.target.rpartition(".")
            folded = fuse_conv_bn_eval(conv, norm, transposed)
            setattr(network.get_submodule(parent), name, folded)
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    return fx.GraphModule(network, graph)


class _Tracer(fx.Tracer):
    """Traces all modules except single layers."""

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return isinstance(m, DeformableConv) or super().is_leaf_module(m, qualified_name)
