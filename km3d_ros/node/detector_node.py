"""The lifecycle node `km3d`: subscribes to camera images, publishes 3D boxes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import TimeJump
from rclpy.parameter import Parameter

from km3d_ros.errors import InputError
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.inference.detector import Detector, release_memory
from km3d_ros.node import parameters, running
from km3d_ros.node.diagnostics import Health, stream_values
from km3d_ros.node.lifecycle import ManagedNode
from km3d_ros.node.log import library_log
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.parameters import PARAMETERS, FixedSettings, LiveSettings
from km3d_ros.node.pipeline import Pipeline

EMBEDDED_LIMITS = (
    "the embedded weights are for a first look: on real streets they miss half of the "
    "pedestrians, most cyclists and a fifth of the cars beyond 15 m, and were never measured at "
    "night, in rain or in snow (docs/weights.md)"
)


class DetectorNode(ManagedNode):
    """Loads the weights when configured, processes images while active.

    It publishes diagnostics in every state.

    statistics: counts of the frames by camera, since the node was created.
    """

    whole = "detector"

    def __init__(
        self, name: str = "km3d", *, clock: Callable[[], float] = time.monotonic, **kwargs
    ) -> None:
        """Declare the parameters, as `ManagedNode`; lifecycle transitions load and subscribe."""
        self._detector: Detector | None = None
        self._outputs: dict[str, Outputs] = {}
        self._pipeline: Pipeline | None = None
        self._mounting = Mounting()
        self.statistics: dict[str, FrameStatistics] = {}
        super().__init__(name, PARAMETERS, "km3d_node", clock, **kwargs)
        self._read_settings()

    def _configure(self) -> None:
        """Load the weights and create the publishers."""
        self._read_settings()
        fixed = self._fixed
        self._mounting = Mounting(
            fixed.base_frame, fixed.camera_pitch, fixed.camera_roll, fixed.base_frame_required
        )
        # Load the model in a short-lived thread. OpenMP keeps one thread pool per calling
        # thread; a second pool would oversubscribe the cores and slow the worker down.
        with ThreadPoolExecutor(1) as executor:
            self._detector = executor.submit(self._load).result()
        for camera in fixed.cameras:
            self._outputs[camera] = Outputs(self, camera)

    def _activate(self) -> None:
        """Subscribe, and start the worker."""
        self._pipeline = Pipeline(
            self,
            self._detector,
            self._fixed,
            self._mounting,
            self._outputs,
            self.statistics,
            self._now,
        )

    def _deactivate(self) -> None:
        """Unsubscribe, and finish the frames in work."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.stop()

    def _release(self) -> None:
        """Destroy the publishers and release the detector's memory."""
        for outputs in self._outputs.values():
            outputs.destroy()
        self._outputs, self._detector = {}, None
        release_memory()

    @property
    def _is_configured(self) -> bool:
        return self._detector is not None

    def destroy_node(self) -> None:
        """Stop the worker before the publishers are destroyed."""
        self._deactivate()
        super().destroy_node()

    def _parts(self) -> list[str]:
        return self._fixed.cameras

    def _read_settings(self) -> None:
        """Read the parameters that are fixed while the node is configured."""
        self._fixed = parameters.read(self, FixedSettings)
        for camera in self._fixed.cameras:
            self.statistics.setdefault(camera, FrameStatistics())

    def _health(self, camera: str) -> tuple[Health, dict[str, object]]:
        detector = self._detector
        if detector is None:
            return self._idle_health(), {}
        values = {
            "backend": detector.choice,
            "model": detector.spec.architecture,
            "weights": self._fixed.weights or "embedded",
        }
        health = self._idle_health()
        if self._pipeline is not None:
            health, more = self._pipeline.check(camera)
            values |= more
        statistics = self.statistics[camera]
        return health, values | stream_values(statistics.totals(), statistics.latencies())

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
        weights = fixed.weights or "embedded"
        self.get_logger().info(
            f"{detector.spec.architecture} in {detector.choice}, weights: {weights}"
        )
        if not fixed.weights:
            self.get_logger().warning(EMBEDDED_LIMITS)
        return detector

    def _on_time_jump(self, jump: TimeJump) -> None:
        if self._pipeline is not None:
            self.get_logger().warning("time jumped back, or its source changed: nothing waits")
            self._pipeline.reset()

    def _check_change(self, changed: Sequence[Parameter]) -> SetParametersResult:
        """Reject changes that the weights or the lifecycle state do not allow."""
        result = super()._check_change(changed)
        classes = [parameter.value for parameter in changed if parameter.name == "classes"]
        if not (result.successful and classes and self._is_configured):
            return result
        try:
            parameters.check_classes(classes[0], self._detector.spec.classes)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return result


def run() -> int:
    """Run the node until a signal or an error stops it; returns the exit code."""
    return running.run(DetectorNode, "km3d")
