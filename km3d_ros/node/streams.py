"""All cameras of the node on one detector, while the node is active (design, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rclpy.lifecycle import Node

from km3d_ros.frames.pairing import Frame
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.node import parameters
from km3d_ros.node.diagnostics import Health
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.processing import Answer, Processor, View
from km3d_ros.node.stream import Stream
from km3d_ros.node.worker import NewestWorker


class Streams:
    """Answers the newest frames of all cameras, those that wait together, until it is stopped.

    Callbacks only store what arrives; one worker thread detects and publishes. Another one draws
    the newest answers, so that no frame waits for the picture of the last one.
    """

    def __init__(
        self,
        node: Node,
        processor: Processor,
        outputs: Mapping[str, Outputs],
        statistics: Mapping[str, FrameStatistics],
        clock: Callable[[], float],
    ) -> None:
        """Start. Outputs and statistics by camera; `clock` gives seconds on a steady clock.

        Raises:
            RuntimeError: a `qos_overrides` parameter has a value that is no QoS policy.
        """
        self._node = node
        self._processor = processor
        self._now = clock
        self._painter = NewestWorker(self._draw)
        self._worker = NewestWorker(self._work)
        self._streams: dict[str, Stream] = {}
        settings = parameters.read(node, parameters.FixedSettings)
        try:
            for camera in outputs:
                self._streams[camera] = Stream(
                    *(node, camera, settings, outputs[camera], statistics[camera], clock),
                    offer=partial(self._worker.offer, camera),
                )
        except Exception:
            self.stop()
            raise

    def enable(self, enabled: bool) -> None:
        """Whether images are looked at, or dropped on arrival."""
        for stream in self._streams.values():
            stream.enabled = enabled

    def reset(self) -> None:
        """Forget what came before time jumped."""
        for stream in self._streams.values():
            stream.reset()

    def check(self, camera: str) -> tuple[Health, dict[str, float]]:
        """The health of a camera since the last check, and its rates in Hz."""
        return self._streams[camera].check()

    def stop(self) -> None:
        """Unsubscribe and finish the frames in work; those that still wait count as paused."""
        for stream in self._streams.values():
            stream.stop()
        for camera in self._worker.stop():
            self._streams[camera].paused()
        self._painter.stop()

    def _work(self, frames: Mapping[str, Frame]) -> None:
        """Answer the frames or count why not; runs in the worker's thread."""
        started = self._now()
        views: dict[Stream, View] = {}
        for camera, frame in frames.items():
            stream = self._streams[camera]
            with stream.counting():
                views[stream] = stream.read(frame)
        if not views:
            return
        try:
            settings = parameters.read(self._node, parameters.LiveSettings)
            answers = self._processor(list(views.values()), settings)
        except Exception as error:
            for stream in views:
                stream.failed(error)
            return
        for stream, answer in zip(views, answers, strict=True):
            with stream.counting():
                stream.publish(answer, self._processor.class_names, settings, started)
                self._painter.offer(stream, answer)

    def _draw(self, answers: Mapping[Stream, Answer]) -> None:
        """Draw for those who watch; runs in the painter's thread."""
        for stream, answer in answers.items():
            stream.draw(answer, self._processor.class_names)
