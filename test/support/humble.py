"""pytest -p support.humble: subscriptions pass the message alone, as those of rclpy 3.3 do."""

from rclpy.subscription import Subscription


def _set_callback(subscription, callback):
    subscription._callback = callback
    subscription._callback_type = Subscription.CallbackType.MessageOnly


Subscription.callback = Subscription.callback.setter(_set_callback)
