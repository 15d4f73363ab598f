"""The lifecycle node `km3d`: subscribes to camera images, publishes 3D boxes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import Node, State, TransitionCallbackReturn
from rclpy.parameter import Parameter

from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.inference.detector import Detector, release_memory
from km3d_ros.node import diagnostics, parameters, running
from km3d_ros.node.compatibility import refuse_impossible_transitions
from km3d_ros.node.diagnostics import Health
from km3d_ros.node.log import Backoff, library_log
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.parameters import FixedSettings, LiveSettings
from km3d_ros.node.pipeline import LOG_PERIOD, Pipeline

REPORT_PERIOD = 1.0
"""Seconds between two diagnostics messages."""

EMBEDDED_LIMITS = (
    "the embedded weights are for a first look: on real streets they miss half of the "
    "pedestrians, most cyclists and a fifth of the cars beyond 15 m, and were never measured at "
    "night, in rain or in snow (docs/weights.md)"
)


class DetectorNode(Node):
    """Loads the weights when configured, processes images while active.

    It publishes diagnostics in every state.

    statistics: counts of the frames by camera, since the node was created.
    """

    def __init__(
        self, name: str = "km3d", *, clock: Callable[[], float] = time.monotonic, **kwargs
    ) -> None:
        """Declare the parameters. Loading and subscribing follow in the lifecycle transitions.

        Args:
            name: name of the node.
            clock: seconds on a steady clock, for durations only.
            kwargs: arguments of rclpy.node.Node.

        Raises:
            rclpy.exceptions.InvalidParameterValueException: a parameter breaks its rule.
            rclpy.exceptions.InvalidParameterTypeException: a parameter has another type.
        """
        self._now = clock
        self._detector: Detector | None = None
        self._outputs: dict[str, Outputs] = {}
        self._pipeline: Pipeline | None = None
        self._mounting = Mounting()
        self._idle_state, self._failure = "unconfigured", ""
        super().__init__(name, **kwargs)
        refuse_impossible_transitions(self)
        self.add_on_set_parameters_callback(self._check_change)
        parameters.declare(self)
        for problem in parameters.unknown(self):
            self.get_logger().warning(problem)
        self.statistics: dict[str, FrameStatistics] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._loggers: dict[str, RcutilsLogger] = {}
        self._read_settings()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: diagnostics continue while simulated time is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD, self.report, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._on_time_jump,
        )

    def autostart(self) -> bool:
        """Configure and activate, unless the parameter `autostart` is false.

        Returns:
            False if a transition failed; the log gives the reason.
        """
        if not self._fixed.autostart:
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Load the weights and create the publishers. On failure the node stays unconfigured."""
        try:
            self._read_settings()
            self._mounting = self._read_mounting()
            # Load the model in a short-lived thread. OpenMP keeps one thread pool per calling
            # thread; a second pool would oversubscribe the cores and slow the worker down.
            with ThreadPoolExecutor(1) as executor:
                self._detector = executor.submit(self._load).result()
            for camera in self._fixed.cameras:
                self._outputs[camera] = Outputs(self, camera)
        # Every exception: rclpy would discard it without a message.
        except Exception as error:
            self._unload()
            return self._fail(f"cannot configure: {error}")
        self._set_idle_state("inactive")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Subscribe and enable the publishers. On failure the node stays inactive."""
        try:
            self._pipeline = Pipeline(
                self,
                self._detector,
                self._fixed,
                self._mounting,
                self._outputs,
                self.statistics,
                self._now,
            )
        except Exception as error:
            return self._fail(f"cannot activate: {error}")
        self._set_idle_state("inactive")
        return super().on_activate(state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Unsubscribe, finish the frames in work, then disable the publishers."""
        self._stop_pipeline()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Release the weights and destroy the publishers."""
        self._unload()
        self._set_idle_state("unconfigured")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Stop and release everything, from any state."""
        self._stop_pipeline()
        self._unload()
        self._set_idle_state("finalized")
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Clean up after a transition that raised; the node becomes unconfigured."""
        self._stop_pipeline()
        return self.on_cleanup(state)

    def destroy_node(self) -> None:
        """Stop the worker before the publishers are destroyed."""
        self._stop_pipeline()
        super().destroy_node()

    def report(self) -> None:
        """Publish the diagnostics of every camera; log warnings and errors."""
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = self.get_fully_qualified_name()
        for camera in self._fixed.cameras:
            # Several vehicles may share the topic: the name starts with the node's full name.
            name = f"{hardware[1:]}: {camera or 'detector'}"
            health, values = self._health(camera)
            message.status.append(diagnostics.status(name, hardware, health, values))
            self._log_health(health, camera)
        self._diagnostics.publish(message)

    def _log_health(self, health: Health, camera: str) -> None:
        if health.level == diagnostics.OK:
            self._backoffs[camera] = Backoff()
        elif self._backoffs[camera].is_due(health.message, self._now()):
            # A call site of rclpy keeps its severity.
            if health.level == diagnostics.ERROR:
                self._loggers[camera].error(health.message, throttle_duration_sec=LOG_PERIOD)
            else:
                self._loggers[camera].warning(health.message, throttle_duration_sec=LOG_PERIOD)

    def _read_settings(self) -> None:
        """Read the parameters that are fixed while the node is configured."""
        self._fixed = parameters.read(self, FixedSettings)
        for camera in self._fixed.cameras:
            self.statistics.setdefault(camera, FrameStatistics())
            self._backoffs.setdefault(camera, Backoff())
            # rclpy throttles messages by logger, so each camera needs its own.
            logger = self.get_logger()
            self._loggers.setdefault(camera, logger.get_child(camera) if camera else logger)

    def _read_mounting(self) -> Mounting:
        fixed = self._fixed
        return Mounting(
            fixed.base_frame, fixed.camera_pitch, fixed.camera_roll, fixed.base_frame_required
        )

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

    def _health(self, camera: str) -> tuple[Health, dict[str, object]]:
        detector = self._detector
        if detector is None:
            return self._idle_health(), {}
        values = {
            "backend": detector.choice,
            "model": detector.spec.architecture,
            "weights": self._weights_name,
        }
        health = self._idle_health()
        if self._pipeline is not None:
            health, more = self._pipeline.check(camera)
            values |= more
        statistics = self.statistics[camera]
        counts = diagnostics.stream_values(statistics.totals(), statistics.latencies())
        return health, values | counts

    def _idle_health(self) -> Health:
        """The health while the node is not active: its state, or the failed transition."""
        if self._failure:
            return Health(diagnostics.ERROR, self._failure)
        return Health(diagnostics.OK, self._idle_state)

    @property
    def _weights_name(self) -> str:
        return self._fixed.weights or "embedded"

    def _load(self) -> Detector:
        """The detector, warmed up for each number of images that can be detected together."""
        fixed = self._fixed
        with library_log(self.get_logger()):
            detector = Detector.from_checkpoint(
                fixed.weights or None,
                fixed.device,
                precision=fixed.precision,
                backend=fixed.backend,
                threads=fixed.threads,
            )
        detector.field_of_view = fixed.field_of_view
        wanted = parameters.read(self, LiveSettings).classes
        parameters.check_classes(wanted, detector.spec.classes)
        # Loading has run the backend with one image already.
        for images in range(2, len(fixed.cameras) + 1) if detector.is_faster_in_batches else ():
            detector.warm_up(images)
        self.get_logger().info(
            f"{detector.spec.architecture} in {detector.choice}, weights: {self._weights_name}"
        )
        if not fixed.weights:
            self.get_logger().warning(EMBEDDED_LIMITS)
        return detector

    def _unload(self) -> None:
        """Destroy the publishers and release the detector's memory."""
        for outputs in self._outputs.values():
            outputs.destroy()
        self._outputs, self._detector = {}, None
        release_memory()

    def _stop_pipeline(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.stop()

    def _on_time_jump(self, jump: TimeJump) -> None:
        if self._pipeline is not None:
            self.get_logger().warning("time jumped back, or its source changed: nothing waits")
            self._pipeline.reset()

    def _check_change(self, changed: Sequence[Parameter]) -> SetParametersResult:
        """Reject changes that the weights or the lifecycle state do not allow."""
        if self._detector is None:
            return SetParametersResult(successful=True)
        fixed = parameters.changes_fixed(changed)
        if fixed:
            reason = f"{', '.join(fixed)}: clean up the node first, only then it can change"
            return SetParametersResult(successful=False, reason=reason)
        classes = [parameter.value for parameter in changed if parameter.name == "classes"]
        if not classes:
            return SetParametersResult(successful=True)
        try:
            parameters.check_classes(classes[0], self._detector.spec.classes)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def run() -> int:
    """Run the node until a signal or an error stops it; returns the exit code."""
    return running.run(DetectorNode, "km3d")
