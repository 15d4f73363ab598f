"""What differs between the versions of rclpy, asked by capability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

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
    "WithMessageInfo",
]


class WithMessageInfo:
    """A subscription callback that gets the message information where rclpy passes it.

    Newer versions of rclpy pass it to callbacks that do not accept one argument alone. Older ones
    (Humble) pass the message alone to every callback. So the signature has two parameters, and
    the second one is optional in calls.
    """

    __signature__ = Signature(
        [Parameter(name, Parameter.POSITIONAL_ONLY) for name in ("message", "message_info")]
    )

    def __init__(self, callback: Callable[[Any, Mapping[str, Any]], None]) -> None:
        """Args: callback: called with the message and its information, which may be empty."""
        self._callback = callback

    def __call__(self, message: Any, message_info: Mapping[str, Any] | None = None) -> None:
        """Call the callback."""
        self._callback(message, message_info or {})
