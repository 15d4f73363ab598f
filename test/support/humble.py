"""pytest -p support.humble: what rclpy 3.3 does otherwise.

Subscriptions pass the message alone. A transition that the state does not allow raises.
"""

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.subscription import Subscription


def _set_callback(subscription, callback):
    subscription._callback = callback
    subscription._callback_type = Subscription.CallbackType.MessageOnly


Subscription.callback = Subscription.callback.setter(_set_callback)


_change_state = LifecycleNodeMixin._LifecycleNodeMixin__change_state


def _change_state_or_raise(node, transition_id):
    if transition_id not in [known for known, *_ in node._state_machine.available_transitions]:
        raise rclpy_implementation.RCLError("Transition is not registered.")
    return _change_state(node, transition_id)


LifecycleNodeMixin._LifecycleNodeMixin__change_state = _change_state_or_raise
