"""The SROS 2 policy against what the node really has."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.parameter import Parameter

import km3d_ros
from km3d_ros.node.detector_node import DetectorNode

POLICY = Path(km3d_ros.__file__).parents[1] / "config" / "km3d.policy.xml"
HAS_TYPE_DESCRIPTION = importlib.util.find_spec("rclpy.type_description_service")


def allowed(kind: str, right: str, namespace: str) -> set[str]:
    """Full names of the topics or services for which the policy gives a right."""
    (profile,) = ElementTree.parse(POLICY).iter("profile")
    assert (profile.get("node"), profile.get("ns")) == ("km3d", "/")
    names = [e.text for group in profile if group.get(right) == "ALLOW" for e in group.iter(kind)]
    assert len(set(names)) == len(names)
    own = [name.replace("~", "km3d") for name in names]
    return {name if name[0] == "/" else f"{namespace}/{name}" for name in own}


@pytest.fixture(params=["raw", "compressed"])
def node(request, weights) -> Iterator[DetectorNode]:
    """Active, with every subscription, in a namespace that is called as its image transport."""
    context = rclpy.Context()
    context.init()
    values = {
        "weights": str(weights),
        "image_transport": request.param,
        "use_sim_time": True,
        "base_frame": "base_link",
    }
    node = DetectorNode(
        context=context,
        namespace=request.param,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
    )
    assert node.autostart()
    yield node
    node.destroy_node()
    context.shutdown()


def test_policy_allows_what_the_node_does_and_no_more(node):
    namespace = node.get_namespace()

    def names(entities: str) -> set[str]:
        found = getattr(node, f"get_{entities}_names_and_types_by_node")("km3d", namespace)
        return {name for name, _ in found}

    other = {"/raw": "image/compressed", "/compressed": "image"}[namespace]
    assert names("subscriber") | {f"{namespace}/{other}"} == allowed(
        "topic", "subscribe", namespace
    )
    assert names("publisher") == allowed("topic", "publish", namespace)
    services = allowed("service", "reply", namespace)
    if not HAS_TYPE_DESCRIPTION:
        services.remove(f"{namespace}/km3d/get_type_description")
    assert names("service") == services
    assert names("client") == allowed("service", "request", namespace) == set()
