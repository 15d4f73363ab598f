"""The SROS 2 policies against what the nodes really have."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

import km3d_ros
from km3d_ros.node.detector_node import DetectorNode
from km3d_ros.node.tracker_node import TrackerNode

CONFIG = Path(km3d_ros.__file__).parents[1] / "config"
HAS_TYPE_DESCRIPTION = importlib.util.find_spec("rclpy.type_description_service")


def allowed(node: str, kind: str, right: str, namespace: str) -> set[str]:
    """Full names of the topics or services for which the policy of a node gives a right."""
    (profile,) = ElementTree.parse(CONFIG / f"{node}.policy.xml").iter("profile")
    assert (profile.get("node"), profile.get("ns")) == (node, "/")
    names = [e.text for group in profile if group.get(right) == "ALLOW" for e in group.iter(kind)]
    assert len(set(names)) == len(names)
    own = [name.replace("~", node) for name in names]
    return {name if name[0] == "/" else f"{namespace}/{name}" for name in own}


@pytest.fixture(params=["raw", "compressed"])
def node(request, weights) -> Iterator[DetectorNode]:
    """Active, with every subscription, in a namespace that is called as its image transport."""
    context = rclpy.Context()
    context.init()
    values = {
        "weights": str(weights),
        "backend": "torch",
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


@pytest.fixture
def tracker() -> Iterator[TrackerNode]:
    context = rclpy.Context()
    context.init()
    node = TrackerNode(
        context=context,
        namespace="/front",
        parameter_overrides=[Parameter("use_sim_time", value=True)],
    )
    assert node.autostart()
    yield node
    node.destroy_node()
    context.shutdown()


def names(node: Node, entities: str) -> set[str]:
    """Full names of the node's publishers, subscriptions, services or clients."""
    found = getattr(node, f"get_{entities}_names_and_types_by_node")(
        node.get_name(), node.get_namespace()
    )
    return {name for name, _ in found}


def check_services(node: Node) -> None:
    name, namespace = node.get_name(), node.get_namespace()
    services = allowed(name, "service", "reply", namespace)
    if not HAS_TYPE_DESCRIPTION:
        services.remove(f"{namespace}/{name}/get_type_description")
    assert names(node, "service") == services
    clients = names(node, "client")
    assert clients == allowed(name, "service", "request", namespace) == set()


def test_policy_allows_what_the_node_does_and_no_more(node):
    namespace = node.get_namespace()
    other = {"/raw": "image/compressed", "/compressed": "image"}[namespace]
    subscribed = names(node, "subscriber") | {f"{namespace}/{other}"}
    assert subscribed == allowed("km3d", "topic", "subscribe", namespace)
    assert names(node, "publisher") == allowed("km3d", "topic", "publish", namespace)
    check_services(node)


def test_policy_of_the_tracker_allows_what_it_does_and_no_more(tracker):
    for entities, right in (("subscriber", "subscribe"), ("publisher", "publish")):
        assert names(tracker, entities) == allowed("km3d_tracker", "topic", right, "/front")
    check_services(tracker)
