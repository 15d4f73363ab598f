"""What both lifecycle nodes of this package have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import Node, State, TransitionCallbackReturn
from rclpy.parameter import Parameter

from km3d_ros.node import diagnostics, parameters
from km3d_ros.node.compatibility import refuse_impossible_transitions
from km3d_ros.node.diagnostics import Health
from km3d_ros.node.log import LOG_PERIOD, Backoff
from km3d_ros.node.parameters import Rule

REPORT_PERIOD = 1.0
"""Seconds between two diagnostics messages."""


class ManagedNode(Node, ABC):
    """A lifecycle node that can start itself, and publishes diagnostics in every state.

    A subclass sets the attributes that its methods need before it calls this constructor.

    whole: what the diagnostics call the node as a whole.
    """

    def __init__(
        self, name: str, rules: Sequence[Rule], program: str, clock: Callable[[], float], **kwargs
    ) -> None:
        """Declare the parameters, and start the diagnostics.

        name: name of the node.
        rules: its parameters.
        program: its executable.
        clock: seconds on a steady clock, for durations only.
        kwargs: arguments of rclpy.node.Node.

        Raises:
            rclpy.exceptions.InvalidParameterValueException: a parameter breaks its rule.
            rclpy.exceptions.InvalidParameterTypeException: a parameter has another type.
        """
        self._now, self._rules = clock, rules
        self._idle_state, self._failure = "unconfigured", ""
        self._backoffs: dict[str, Backoff] = {}
        self._loggers: dict[str, RcutilsLogger] = {}
        super().__init__(name, **kwargs)
        refuse_impossible_transitions(self)
        self.add_on_set_parameters_callback(self._check_change)
        parameters.declare(self, rules)
        for problem in parameters.unknown(self, rules, program):
            self.get_logger().warning(problem)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: diagnostics continue while simulated time is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD, self.report, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._on_time_jump,
        )

    # Of the subclass.

    whole: str

    @property
    @abstractmethod
    def _is_configured(self) -> bool:
        """Whether fixed parameters are in use."""

    @abstractmethod
    def _configure(self) -> None:
        """Read the fixed parameters and create what the node needs in the state inactive."""

    @abstractmethod
    def _activate(self) -> None:
        """Start working."""

    @abstractmethod
    def _deactivate(self) -> None:
        """Stop working; does nothing in other states than active."""

    @abstractmethod
    def _release(self) -> None:
        """Undo `_configure`, even if it failed half-way."""

    @abstractmethod
    def _on_time_jump(self, jump: TimeJump) -> None:
        """Handle a jump back in simulated time, or a change of its source."""

    @abstractmethod
    def _parts(self) -> Sequence[str]:
        """The cameras or topics that have a diagnostic status; "" is the whole node."""

    @abstractmethod
    def _health(self, part: str) -> tuple[Health, dict[str, object]]:
        """The health of a part and its diagnostic values."""

    # Lifecycle.

    def autostart(self) -> bool:
        """Configure and activate, unless the parameter `autostart` is false.

        Returns:
            False if a transition failed; the log gives the reason.
        """
        if not self.get_parameter("autostart").value:
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Configure the node. On failure it stays unconfigured, and nothing is left."""
        try:
            self._configure()
        # Every exception: rclpy would discard it without a message.
        except Exception as error:
            self._release()
            return self._fail(f"cannot configure: {error}")
        self._set_idle_state("inactive")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Start working and enable the publishers. On failure the node stays inactive."""
        try:
            self._activate()
        except Exception as error:
            self._deactivate()
            return self._fail(f"cannot activate: {error}")
        self._set_idle_state("inactive")
        return super().on_activate(state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Stop working, then disable the publishers."""
        self._deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Release what the transition configure created."""
        self._release()
        self._set_idle_state("unconfigured")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Stop and release everything, from any state."""
        self._deactivate()
        self._release()
        self._set_idle_state("finalized")
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Clean up after a transition that raised; the node becomes unconfigured."""
        self._deactivate()
        return self.on_cleanup(state)

    def _set_idle_state(self, state: str) -> None:
        """Set the lifecycle state that diagnostics report while the node is not active."""
        self._idle_state, self._failure = state, ""

    def _fail(self, reason: str) -> TransitionCallbackReturn:
        """Log the failure of a transition and report it in the diagnostics.

        Raises:
            KeyboardInterrupt: a signal shut down the context, which is why the transition failed.
        """
        if not self.context.ok():
            raise KeyboardInterrupt
        self._failure = reason
        self.get_logger().error(reason)
        return TransitionCallbackReturn.FAILURE

    def _check_change(self, changed: Sequence[Parameter]) -> SetParametersResult:
        """Reject changes that the lifecycle state does not allow."""
        fixed = {rule.name for rule in self._rules if rule.fixed}
        names = [parameter.name for parameter in changed if parameter.name in fixed]
        if not (names and self._is_configured):
            return SetParametersResult(successful=True)
        reason = f"{', '.join(names)}: clean up the node first, only then it can change"
        return SetParametersResult(successful=False, reason=reason)

    # Diagnostics.

    def report(self) -> None:
        """Publish the diagnostics of every part; log warnings and errors."""
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = self.get_fully_qualified_name()
        for part in self._parts():
            health, values = self._health(part)
            message.status.append(
                DiagnosticStatus(
                    level=health.level,
                    # Several vehicles may share the topic: the name starts with the node's name.
                    name=f"{hardware[1:]}: {part or self.whole}",
                    hardware_id=hardware,
                    message=health.message,
                    values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
                )
            )
            self._log_health(part, health)
        self._diagnostics.publish(message)

    def _log_health(self, part: str, health: Health) -> None:
        backoff = self._backoffs.setdefault(part, Backoff())
        if health.level == diagnostics.OK:
            self._backoffs[part] = Backoff()
        elif backoff.is_due(health.message, self._now()):
            logger = self._logger_of(part)
            # A call site of rclpy keeps its severity.
            if health.level == diagnostics.ERROR:
                logger.error(health.message, throttle_duration_sec=LOG_PERIOD)
            else:
                logger.warning(health.message, throttle_duration_sec=LOG_PERIOD)

    def _logger_of(self, part: str) -> RcutilsLogger:
        """The logger of a part: rclpy throttles messages by logger."""
        if part not in self._loggers:
            logger = self.get_logger()
            name = part.strip("/").replace("/", ".")
            self._loggers[part] = logger.get_child(name) if name else logger
        return self._loggers[part]

    def _idle_health(self) -> Health:
        """The health while the node is not active: its state, or the failed transition."""
        if self._failure:
            return Health(diagnostics.ERROR, self._failure)
        return Health(diagnostics.OK, self._idle_state)
