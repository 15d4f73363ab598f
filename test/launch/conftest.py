"""A peer that watches what launch files start, and stand-ins for what is missing here."""

import os
from collections.abc import Callable, Iterator

import pytest
import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from support.waiting import call, spin_until

STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > "$0.$$" && mv "$0.$$" "$0.$$.started"
"""


class Peer:
    """Another node."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.node = node
        self._executor = executor

    def wait_until(self, condition: Callable[[], bool]) -> None:
        spin_until(self._executor, condition)

    def call(self, service_type: type, name: str, request):
        return call(self._executor, self.node, service_type, name, request)

    def state(self, node: str) -> str:
        """Of the lifecycle."""
        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label

    def wait_until_active(self, node: str) -> None:
        self.wait_until(lambda: self.state(node) == "active")

    def listen(self, message_type: type, topic: str) -> list:
        """The messages that arrive from now on."""
        received: list = []
        self.node.create_subscription(message_type, topic, received.append, 10)
        return received


@pytest.fixture
def peer() -> Iterator[Peer]:
    context = rclpy.Context()
    context.init()
    node = Node("peer", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield Peer(node, executor)
    node.destroy_node()
    context.shutdown()


@pytest.fixture
def stand_ins(tmp_path, monkeypatch) -> Callable[[str], list[list[str]]]:
    """Programs in the place of RViz and tf2_ros, which say how they were started.

    Gives, for an executable, the arguments of every start.
    """
    prefix = tmp_path / "stand_ins"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package, name in (("rviz2", "rviz2"), ("tf2_ros", "static_transform_publisher")):
        (index / package).touch()
        program = prefix / "lib" / package / name
        program.parent.mkdir(parents=True)
        program.write_text(STAND_IN)
        program.chmod(0o755)
    path = f"{prefix}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}"
    monkeypatch.setenv("AMENT_PREFIX_PATH", path)
    return lambda name: [
        file.read_text().splitlines() for file in sorted(prefix.rglob(f"{name}.*.started"))
    ]
