"""What the middleware tells of messages and peers that never reach the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible, qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


class Gaps:
    """Finds messages that were published but never arrived, by the numbers of those that do."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def before(self, info: Mapping[str, Any]) -> int:
        """How many messages of the same publisher are missing since its last one.

        info: what rclpy tells with a message. None are found where it does not name the publisher
        (before Kilted) or the middleware does not number its messages.
        """
        number = info.get("publication_sequence_number")
        publisher = info.get("publisher_gid")
        if number is None or publisher is None:
            return 0
        gid = bytes(publisher["data"])
        missing = number - self._last.get(gid, number - 1) - 1
        self._last[gid] = number
        return max(missing, 0)


class QosConflicts:
    """Peers that the middleware does not connect, for their quality of service does not fit ours.

    Learns of them from the middleware's events, and forgets those that left.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._policies: dict[str, str] = {}

    def of_subscription(
        self, topic: str, on_lost: Callable[[Any], None] | None = None
    ) -> SubscriptionEventCallbacks:
        """The event callbacks for our subscription of a topic; `on_lost` for lost messages."""
        return SubscriptionEventCallbacks(
            incompatible_qos=self._callback(topic), message_lost=on_lost
        )

    def of_publisher(self, topic: str) -> PublisherEventCallbacks:
        """The event callbacks for our publisher on a topic."""
        return PublisherEventCallbacks(incompatible_qos=self._callback(topic))

    def describe(self) -> str:
        """The topics and policies that keep peers away at this moment; empty if there are none."""
        self._policies = {t: policy for t, policy in self._policies.items() if self._refused(t)}
        return "; ".join(
            f"QoS: a peer on {topic} is not connected, its {policy} does not fit ours "
            f"(qos_overrides.{topic} changes it)"
            for topic, policy in self._policies.items()
        )

    def _callback(self, topic: str) -> Any:
        return partial(self._learn, self._node.resolve_topic_name(topic))

    def _learn(self, topic: str, event: Any) -> None:
        self._policies[topic] = qos_policy_name_from_kind(event.last_policy_kind).lower()

    def _refused(self, topic: str) -> bool:
        """Whether an endpoint of this node and one of another still do not fit."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        subscriptions = self._node.get_subscriptions_info_by_topic(topic)
        return any(
            qos_check_compatible(publisher.qos_profile, subscription.qos_profile)[0]
            == QoSCompatibility.ERROR
            for publisher, subscription in product(publishers, subscriptions)
            if self._is_ours(publisher) or self._is_ours(subscription)
        )

    def _is_ours(self, endpoint: Any) -> bool:
        own = self._node.get_name(), self._node.get_namespace()
        return (endpoint.node_name, endpoint.node_namespace) == own
