"""The lifecycle node `km3d`: camera images in, 3D boxes out (design, section 8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import Node, State, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from km3d_ros.errors import InputError
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.inference.detector import Detector
from km3d_ros.node import diagnostics, parameters
from km3d_ros.node.diagnostics import Health
from km3d_ros.node.log import library_log
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.parameters import FixedSettings, LiveSettings
from km3d_ros.node.processing import Processor
from km3d_ros.node.stream import LOG_PERIOD
from km3d_ros.node.streams import Streams

REPORT_PERIOD = 1.0


class DetectorNode(Node):
    """Loads the weights when configured, answers images while active, reports always.

    statistics: by camera, what became of the frames since the node was created.
    """

    def __init__(
        self, name: str = "km3d", *, clock: Callable[[], float] = time.monotonic, **kwargs
    ) -> None:
        """Declare the parameters; nothing is loaded or subscribed yet.

        Args:
            name: of the node.
            clock: seconds on a steady clock, for durations; stamps are never compared with it.
            kwargs: as of rclpy.node.Node.

        Raises:
            rclpy.exceptions.InvalidParameterValueException: a parameter breaks its rule.
            rclpy.exceptions.InvalidParameterTypeException: a parameter has another type.
        """
        self._now = clock
        self._processor: Processor | None = None
        self._outputs: dict[str, Outputs] = {}
        self._streams: Streams | None = None
        self._enabled = True
        self._resting, self._trouble = "unconfigured", ""
        super().__init__(name, **kwargs)
        self.add_on_set_parameters_callback(self._check_classes)
        parameters.declare(self)
        self._fixed = parameters.read(self, FixedSettings)
        self.statistics = {camera: FrameStatistics() for camera in self._fixed.cameras}
        # One each, made once: throttled messages of a logger hold back those of other cameras.
        logger = self.get_logger()
        self._loggers = {c: logger.get_child(c) if c else logger for c in self._fixed.cameras}
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(SetBool, "~/enable", self._on_enable)
        # A steady clock: while simulated time stands still, the node still says how it is.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD, self.report, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._on_time_jump,
        )

    def autostart(self) -> bool:
        """Configure and activate, unless the parameter leaves that to somebody else.

        Returns:
            False if it failed; the log says why.
        """
        if not self._fixed.autostart:
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Load the weights and create the publishers; if that fails, stay unconfigured."""
        try:
            # OpenMP keeps the helpers of every thread that computed. With those of this thread on
            # top, it sees more helpers than cores, and lets the worker's sleep between layers.
            with ThreadPoolExecutor(1) as passing:
                self._processor = passing.submit(self._load).result()
            for camera in self._fixed.cameras:
                self._outputs[camera] = Outputs(self, camera)
        # Anything at all: rclpy would swallow it, and nobody would learn why.
        except Exception as error:
            self._release()
            return self._refuse(f"cannot configure: {error}")
        self._rest("inactive")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Subscribe and enable the publishers; if that fails, stay inactive."""
        try:
            self._streams = Streams(
                self, self._processor, self._outputs, self.statistics, self._now
            )
            self._streams.enable(self._enabled)
        except Exception as error:
            return self._refuse(f"cannot activate: {error}")
        self._rest("inactive")
        return super().on_activate(state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Unsubscribe and finish the frame in work, then disable the publishers."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Give back the weights and the publishers."""
        self._release()
        self._rest("unconfigured")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Stop, from any state."""
        self._halt()
        self._release()
        self._rest("finalized")
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Clean up after a transition that raised; "unconfigured" is a fresh start."""
        self._halt()
        return self.on_cleanup(state)

    def destroy_node(self) -> None:
        """Stop the worker before the publishers go."""
        self._halt()
        super().destroy_node()

    def report(self) -> None:
        """Publish the diagnostics of every camera; log what is wrong."""
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = self.get_fully_qualified_name()
        for camera in self._fixed.cameras:
            # Several vehicles share the topic: viewers tell them apart by this name.
            name = f"{hardware[1:]}: {camera or 'detector'}"
            health, values = self._health(camera)
            message.status.append(diagnostics.status(name, hardware, health, values))
            self._log(health, self._loggers[camera])
        self._diagnostics.publish(message)

    def _log(self, health: Health, logger: RcutilsLogger) -> None:
        if health.level == diagnostics.ERROR:
            logger.error(health.message, throttle_duration_sec=LOG_PERIOD)
        elif health.level != diagnostics.OK and self._streams is not None:
            logger.warning(health.message, throttle_duration_sec=LOG_PERIOD)

    def _rest(self, state: str) -> None:
        """What the diagnostics tell while the node is not active, from now on."""
        self._resting, self._trouble = state, ""

    def _refuse(self, why: str) -> TransitionCallbackReturn:
        self._trouble = why
        self.get_logger().error(why)
        return TransitionCallbackReturn.FAILURE

    def _health(self, camera: str) -> tuple[Health, dict[str, object]]:
        if self._processor is None:
            return self._idle(), {}
        detector = self._processor.detector
        values = {
            "backend": detector.choice,
            "model": detector.spec.architecture,
            "weights": self._weights_name,
        }
        health = self._idle()
        if self._streams is not None:
            health, rates = self._streams.check(camera)
            values |= rates
            if not self._enabled:
                health = Health(diagnostics.STALE, "paused by ~/enable")
        statistics = self.statistics[camera]
        counts = diagnostics.stream_values(statistics.totals(), statistics.latencies())
        return health, values | counts

    def _idle(self) -> Health:
        """Why there is no output: as told, or because a transition was refused."""
        if self._trouble:
            return Health(diagnostics.ERROR, self._trouble)
        return Health(diagnostics.STALE, self._resting)

    @property
    def _weights_name(self) -> str:
        return self._fixed.weights or "embedded"

    def _load(self) -> Processor:
        fixed = self._fixed
        with library_log(self.get_logger()):
            detector = Detector.from_checkpoint(
                fixed.weights or None,
                fixed.device,
                precision=fixed.precision,
                backend=fixed.backend,
            )
        processor = Processor(detector)
        processor.check_classes(parameters.read(self, LiveSettings).classes)
        processor.warm_up(len(self._fixed.cameras))
        self.get_logger().info(
            f"{detector.spec.architecture} in {detector.choice}, weights: {self._weights_name}"
        )
        return processor

    def _release(self) -> None:
        for outputs in self._outputs.values():
            outputs.destroy()
        self._outputs, self._processor = {}, None
        torch.cuda.empty_cache()  # PyTorch would keep the memory; without a GPU this does nothing

    def _halt(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.stop()

    def _on_time_jump(self, jump: TimeJump) -> None:
        if self._streams is not None:
            self.get_logger().warning("time jumped back, or its source changed: nothing waits")
            self._streams.reset()

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if self._streams is not None:
            self._streams.enable(self._enabled)
        response.success = True
        response.message = "detecting" if self._enabled else "paused, weights stay loaded"
        return response

    def _check_classes(self, changed: Sequence[Parameter]) -> SetParametersResult:
        classes = [parameter.value for parameter in changed if parameter.name == "classes"]
        if self._processor is None or not classes:
            return SetParametersResult(successful=True)
        try:
            self._processor.check_classes(classes[0])
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code."""
    rclpy.init(args=args)
    try:
        return _run()
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except Exception:
        # A signal takes the context away under whatever is being done: that is no failure.
        if rclpy.ok():
            raise
        return 0
    finally:
        rclpy.try_shutdown()


def _run() -> int:
    executor = SingleThreadedExecutor()
    try:
        node = DetectorNode()
    except (InvalidParameterValueException, InvalidParameterTypeException) as error:
        rclpy.logging.get_logger("km3d").fatal(str(error))
        return 1
    executor.add_node(node)
    try:
        if not node.autostart() and rclpy.ok():
            return 1
        _spin(executor)
    finally:
        node.destroy_node()
    return 0


def _spin(executor: SingleThreadedExecutor) -> None:
    """Serve until told to stop."""
    while rclpy.ok():
        try:
            executor.spin()
        # What rclpy makes of a request with a parameter of an unknown type.
        except ValueError as error:
            rclpy.logging.get_logger("km3d").error(f"a request makes no sense: {error}")
