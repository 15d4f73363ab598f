"""`km3d bag`: a recording in, the same recording with detections out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rosbags.typesys import Stores, get_typestore
from tqdm import tqdm

from km3d_ros.bag.camera_topics import Camera, choose_cameras
from km3d_ros.bag.frame_detector import FrameDetector, Result
from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.reading import Recording
from km3d_ros.bag.ros_messages import described
from km3d_ros.bag.survey import Notes, Survey
from km3d_ros.bag.writing import RecordingWriter
from km3d_ros.errors import InputError
from km3d_ros.inference.detector import Detector


@dataclass(frozen=True)
class Request:
    """What is to be done.

    source, out: the recordings.
    images: image topics; empty: of every camera.
    rectified: whether images are rectified; None: those of topics named like image_rect are.
    prefix: what the topics of the results begin with.
    """

    source: Path
    out: Path
    images: Sequence[str] = ()
    rectified: bool | None = None
    prefix: str = "/km3d"

    @property
    def partial(self) -> Path:
        """The folder for the work until it is complete."""
        return self.out.with_name(f"{self.out.name}.partial")


@dataclass
class CameraSummary:
    """What became of the frames of a camera: frames = answered + sum(unusable).

    images, camera_info, detections: topics.
    inexact: frames answered with a CameraInfo of another stamp.
    unusable: frames by cause.
    """

    images: str
    camera_info: str
    detections: str
    frames: int = 0
    answered: int = 0
    inexact: int = 0
    unusable: dict[str, int] = field(default_factory=dict)

    def count(self, result: Result) -> None:
        """Take in the result of a frame."""
        self.frames += 1
        if result.cause:
            self.unusable[result.cause] = self.unusable.get(result.cause, 0) + 1
        else:
            self.answered += 1
            self.inexact += not result.exact


@dataclass(frozen=True)
class Summary:
    """What was done. messages: of the source; damaged: spots of it that cannot be read."""

    source: str
    out: str
    messages: int
    damaged: int
    cameras: list[CameraSummary]


def detect_in_bag(request: Request, detector: Detector) -> Summary:
    """Detect in every image of a recording, and write it with the detections beside the images.

    The work is in `request.partial` until it is complete; then it becomes `request.out`. An error
    leaves nothing behind.

    Raises:
        InputError: no recording, nothing in it to work on, nothing that can be answered, or
            no place to write.
    """
    _check_place(request)
    unpacked = request.partial / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    recording = Recording(request.source, unpacked)
    try:
        damage = Notes("damaged spots")
        survey = Survey.of(recording.messages(damage))
        damage.finish()
        if not survey.messages:
            raise InputError(f"{request.source}: there is no message that can be read")
        cameras = _choose_cameras(request, survey, damage)
        frames = FrameDetector(detector, cameras, survey.infos)
        summaries = _write(request, recording, survey, cameras, frames)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        with suppress(OSError):
            request.partial.rmdir()
    places = str(request.source), str(request.out)
    return Summary(*places, survey.messages, damage.count, summaries)


def _write(
    request: Request,
    recording: Recording,
    survey: Survey,
    cameras: Sequence[Camera],
    frames: FrameDetector,
) -> list[CameraSummary]:
    """Write the new recording: every message, and after each image its results.

    Raises:
        InputError: there are images, and none of them can be used.
    """
    summaries = {
        c.images: CameraSummary(c.images, c.infos, f"{c.results}/detections") for c in cameras
    }
    total = sum(survey.images[camera.images] for camera in cameras)
    unusable = Notes("frames that cannot be used")
    form = recording.storage, recording.compression
    with (
        RecordingWriter(request.out, request.partial / "new", *form) as writer,
        tqdm(desc="Detecting", total=total, unit="frame", disable=None) as progress,
    ):
        topics = _Definitions()
        for message in recording.messages(lambda spot: None):  # reported by the survey
            writer.write(message._replace(topic=topics[message.topic]))
            if not frames.takes(message):
                continue
            result = frames(message)
            for topic, data in result.messages.items():
                writer.write(Message(topic, message.time, data, message.time))
            summaries[message.topic.name].count(result)
            progress.update()
            if result.cause:
                frame = f"{request.source}: {message.topic.name} at {message.time} ns"
                unusable(f"{frame}: {result.cause}: {result.reason}")
        unusable.finish()
        if total and not any(summary.answered for summary in summaries.values()):
            raise InputError(f"{request.source}: not one of {total} images can be used")
    return list(summaries.values())


class _Definitions(dict[Topic, Topic]):
    """Topics with the definitions of their types, also where a recording has none of them.

    Readers look up types elsewhere only if a recording defines none, and ours are defined.
    """

    def __init__(self) -> None:
        super().__init__()
        self._types = get_typestore(Stores.LATEST)

    def __missing__(self, topic: Topic) -> Topic:
        self[topic] = topic
        if not topic.definition and topic.type in self._types.fielddefs:
            known = described(topic.name, topic.type, self._types)
            if topic.type_hash in ("", known.type_hash):
                self[topic] = known._replace(encoding=topic.encoding, qos=topic.qos)
        return self[topic]


def _check_place(request: Request) -> None:
    out = request.out
    if out.exists():
        raise InputError(f"{out} exists already, expected a new recording")
    if out.suffix == ".db3":
        raise InputError(f"{out}: expected a folder or an .mcap file")
    source, partial = request.source.resolve(), request.partial.resolve()
    if source in out.resolve().parents:
        raise InputError(f"{out} lies in {request.source}, expected another place")
    if partial in (source, *source.parents):
        raise InputError(f"{request.source} is where {out} is written, expected another place")


def _choose_cameras(request: Request, survey: Survey, damage: Notes) -> list[Camera]:
    """The cameras; of a damaged recording there may be none left, and it is kept all the same."""
    try:
        cameras = choose_cameras(
            request.source, survey.types, request.images, request.rectified, request.prefix
        )
    except InputError as error:
        if not damage.count or request.images:
            raise
        print(error, file=sys.stderr)
        return []
    for camera in cameras:
        for name in ("detections", "objects"):
            if f"{camera.results}/{name}" in survey.types:
                raise InputError(
                    f"{request.source} has {camera.results}/{name} already: give another --prefix"
                )
    return cameras
