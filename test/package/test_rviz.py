"""RViz's setup: what can be said about it where there is no RViz."""

from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.lifecycle import Node

import km3d_ros
from km3d_ros.node.outputs import Outputs

SETUP = Path(km3d_ros.__file__).parents[1] / "rviz" / "km3d.rviz"
# From plugins_description.xml of rviz_default_plugins and of vision_msgs_rviz_plugins: what a
# display subscribes to; and from rviz_common's panel factory.
DISPLAYS = {
    "rviz_default_plugins/Grid": None,
    "rviz_default_plugins/TF": None,
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "vision_msgs_rviz_plugins/Detection3DArray": "vision_msgs/msg/Detection3DArray",
}


@pytest.fixture
def setup() -> dict:
    return yaml.safe_load(SETUP.read_text())


@pytest.fixture
def displays(setup) -> list[dict]:
    return setup["Visualization Manager"]["Displays"]


@pytest.fixture
def published():
    """The types of the node's topics, which answers go out on, by name."""
    context = rclpy.Context()
    context.init()
    # Not km3d: nodes of that name that other tests have killed may still be in the graph.
    node = Node("shown_in_rviz", context=context)
    Outputs(node, camera="")
    names = node.get_publisher_names_and_types_by_node("shown_in_rviz", "/")
    topics = {name.replace("/shown_in_rviz/", "/km3d/"): types[0] for name, types in names}
    yield {name: kind for name, kind in topics.items() if name.startswith("/km3d/")}
    node.destroy_node()
    context.shutdown()


def test_displays_show_topics_that_the_nodes_publish_with_their_types(displays, published):
    shown = {f"/{d['Topic']['Value']}": DISPLAYS[d["Class"]] for d in displays if "Topic" in d}
    # test_tracker_node.py has the publisher.
    assert shown.pop("/km3d_tracker/markers") == "visualization_msgs/msg/MarkerArray"
    names = ("markers", "image_annotated", "bev", "detections")
    assert shown.keys() == {f"/km3d/{name}" for name in names}
    assert shown == {name: published[name] for name in shown}


def test_nothing_but_the_fixed_frame_is_tied_to_the_name_of_a_vehicle(setup):
    text = SETUP.read_text()
    assert setup["Visualization Manager"]["Global Options"]["Fixed Frame"] == "base_link"
    assert text.count("base_link") == 1
    assert "Value: /" not in text
