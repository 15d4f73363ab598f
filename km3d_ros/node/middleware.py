"""Reports of the middleware: missing messages, and peers with incompatible QoS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)

from km3d_ros.node.compatibility import PublisherEventCallbacks, SubscriptionEventCallbacks

OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
"""QoS policies that `qos_overrides` can change."""


def make_latched_reliable(qos: QoSProfile) -> SetParametersResult:
    """Make a transient_local subscription reliable: only then it receives earlier messages."""
    if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        qos.reliability = ReliabilityPolicy.RELIABLE
    return SetParametersResult(successful=True)


class SequenceGaps:
    """Counts missing messages from the sequence numbers of those that arrive."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def missing_before(self, info: Mapping[str, Any]) -> int:
        """How many messages of the same publisher are missing since its last one.

        info: the message information of rclpy. Returns 0 if it lacks the publisher or the
            sequence number, as before Kilted.
        """
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or publisher is None:
            return 0
        gid = bytes(publisher["data"])
        missing = number - self._last.get(gid, number - 1) - 1
        self._last[gid] = number
        return max(missing, 0)


class IncompatiblePeers:
    """Peers that the middleware does not connect because their QoS is incompatible.

    Events of the middleware add a topic. `describe` removes topics without incompatible peers.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._policies: dict[str, str] = {}

    def subscription_callbacks(
        self, topic: str, on_lost: Callable[[Any], None] | None = None
    ) -> SubscriptionEventCallbacks:
        """The event callbacks for a subscription of the node; `on_lost` for lost messages."""
        return SubscriptionEventCallbacks(
            incompatible_qos=self._callback(topic), message_lost=on_lost
        )

    def publisher_callbacks(self, topic: str) -> PublisherEventCallbacks:
        """The event callbacks for a publisher of the node."""
        return PublisherEventCallbacks(incompatible_qos=self._callback(topic))

    def describe(self) -> str:
        """The topics with incompatible peers now, and the QoS policies; empty if none."""
        self._policies = {
            topic: policy
            for topic, policy in self._policies.items()
            if self._has_incompatible_peer(topic)
        }
        return "; ".join(
            f"QoS: a peer on {topic} is not connected, its {policy} does not fit ours "
            f"(qos_overrides.{topic} changes it)"
            for topic, policy in self._policies.items()
        )

    def _callback(self, topic: str) -> Any:
        return partial(self._add, self._node.resolve_topic_name(topic))

    def _add(self, topic: str, event: Any) -> None:
        self._policies[topic] = qos_policy_name_from_kind(event.last_policy_kind).lower()

    def _has_incompatible_peer(self, topic: str) -> bool:
        """Whether an endpoint of this node is incompatible with one of another node."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        subscriptions = self._node.get_subscriptions_info_by_topic(topic)
        return any(
            qos_check_compatible(publisher.qos_profile, subscription.qos_profile)[0]
            == QoSCompatibility.ERROR
            for publisher, subscription in product(publishers, subscriptions)
            if self._is_own(publisher) or self._is_own(subscription)
        )

    def _is_own(self, endpoint: Any) -> bool:
        own = self._node.get_name(), self._node.get_namespace()
        return (endpoint.node_name, endpoint.node_namespace) == own


def other_types(node: Node, topic: str, expected: str) -> str:
    """The message types of the publishers of a topic; empty if one of them is the expected one."""
    types = {publisher.topic_type for publisher in node.get_publishers_info_by_topic(topic)}
    return "" if expected in types else ", ".join(sorted(types))
