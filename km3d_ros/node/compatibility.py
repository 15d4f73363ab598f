"""Differences between the versions of rclpy, detected by capability instead of version number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import Node

# The environment in which DDS stays on this machine. Later versions warn of the older variable.
try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks

    ON_THIS_MACHINE = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

    ON_THIS_MACHINE = {"ROS_LOCALHOST_ONLY": "1"}

__all__ = [
    "ON_THIS_MACHINE",
    "PublisherEventCallbacks",
    "SubscriptionEventCallbacks",
    "refuse_impossible_transitions",
    "with_message_info",
]


def with_message_info(callback: Callable[[Any, Mapping[str, Any]], None]) -> Callable[..., None]:
    """A subscription callback that receives the message information if rclpy passes it.

    Newer versions of rclpy pass it to callbacks whose signature has two parameters. Older versions
    (Humble) call every callback with the message only. So the signature has two parameters, and
    the second one is optional in calls.
    """

    def receive(message: Any, message_info: Mapping[str, Any] | None = None) -> None:
        callback(message, message_info or {})

    names = ("message", "message_info")
    receive.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_ONLY) for n in names])
    return receive


def refuse_impossible_transitions(node: Node) -> None:
    """Refuse requests for transitions that the state of the node does not allow.

    rclpy of Humble and Jazzy raises an error on such a request: the node would end, and the client
    would wait forever.
    """

    def guarded(change_state: Callable) -> Callable:
        def answer(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except rclpy_implementation.RCLError as error:
                if not node.context.ok():
                    raise
                node.get_logger().error(f"transition refused: {error}")
                response.success = False
                return response

        return answer

    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = guarded(service.callback)
