"""`km3d bag`: detects in a recording and writes it again with the detections."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.serialization import deserialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo
from tqdm import tqdm

from km3d_ros.bag.bag_tracker import BagTracker, TrackSummary
from km3d_ros.bag.camera_topics import Camera, Wanted, choose_cameras
from km3d_ros.bag.frame_detector import RESULTS, FrameDetector
from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.reading import Recording
from km3d_ros.bag.ros_messages import described
from km3d_ros.bag.survey import Notes, Survey
from km3d_ros.bag.writing import RecordingWriter
from km3d_ros.errors import InputError
from km3d_ros.frames.drops import DroppedFrame
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.topic_names import is_rectified
from km3d_ros.inference.detector import Detector


@dataclass
class CameraSummary:
    """Results of one camera: frames = answered + sum(unusable).

    images, detections: topics.
    camera_info: topic, or the path of a camera file.
    rectified: P of the CameraInfo was used; else K, D and R.
    inexact: frames answered with a CameraInfo of another stamp.
    unusable: frames by cause.
    """

    images: str
    camera_info: str
    rectified: bool
    detections: str
    frames: int = 0
    answered: int = 0
    inexact: int = 0
    unusable: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Results of a run.

    messages: of the source. damaged: its spots that cannot be read. tracking: if it was wanted.
    """

    source: str
    out: str
    messages: int
    damaged: int
    cameras: list[CameraSummary]
    tracking: TrackSummary | None = None


def detect_in_bag(
    source: Path, out: Path, wanted: Wanted, mounting: Mounting, detector: Detector
) -> Summary:
    """Detect in every image of a recording, and write it with the detections beside the images.

    The static transforms of the recording are added to the mounting. The new recording is written
    in the folder `out.partial` and moved to `out` when complete. After an error nothing is left.

    Raises:
        InputError: the recording cannot be read, has no camera, or none of its images can be
            used; or the new recording cannot be written.
    """
    partial = out.with_name(f"{out.name}.partial")
    _check_place(source, out, partial)
    unpacked = partial / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    recording = Recording(source, unpacked)
    try:
        damage = Notes("damaged spots")
        survey = Survey.of(recording.messages(damage))
        damage.finish()
        if not survey.messages:
            raise InputError(f"{source}: there is no message that can be read")
        cameras = _choose_cameras(source, wanted, survey, damage)
        frames = FrameDetector(
            detector, cameras, survey, mounting, wanted.calibration, _print_line
        )
        storage = "mcap" if recording.storage == "ROS 1" else recording.storage
        writer = RecordingWriter(out, partial / "new", storage, recording.compression)
        tracker = None
        if wanted.tracks:
            tracker = BagTracker(source, wanted, survey, recording.messages(_ignore))
        summaries = _write(writer, source, recording, survey, cameras, frames, tracker)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        with suppress(OSError):
            partial.rmdir()
    tracking = tracker and tracker.summary
    return Summary(str(source), str(out), survey.messages, damage.count, summaries, tracking)


def _write(
    writer: RecordingWriter,
    source: Path,
    recording: Recording,
    survey: Survey,
    cameras: Sequence[Camera],
    frames: FrameDetector,
    tracker: BagTracker | None,
) -> list[CameraSummary]:
    """Write the new recording: every message, and the results after each image.

    Raises:
        InputError: none of the images can be used.
    """
    summaries = {
        c.images: CameraSummary(c.images, c.infos, c.rectified, f"{c.results}/detections")
        for c in cameras
    }
    total = sum(survey.images[camera.images] for camera in cameras)
    unusable = Notes("frames that cannot be used")
    topics = _Definitions()
    with writer, tqdm(desc="Detecting", total=total, unit="frame", disable=None) as progress:
        for message in recording.messages(_ignore):
            writer.write(message._replace(topic=topics[message.topic]))
            if not frames.takes(message):
                continue
            name, time = message.topic.name, message.time
            summary = summaries[name]
            summary.frames += 1
            progress.update()
            try:
                written, exact = frames(message)
            except DroppedFrame as dropped:
                cause = dropped.cause.value
                summary.unusable[cause] = summary.unusable.get(cause, 0) + 1
                unusable(f"{source}: {name} at {time} ns: {cause}: {dropped}")
                continue
            summary.answered += 1
            summary.inexact += not exact
            if tracker:
                written |= tracker(message, next(iter(written.values())))
            for topic, data in written.items():
                writer.write(Message(topic, time, data, time))
        unusable.finish()
        if total and not any(summary.answered for summary in summaries.values()):
            raise InputError(f"{source}: not one of {total} images can be used")
    return list(summaries.values())


class _Definitions(dict[Topic, Topic]):
    """Topics with the definitions of ROS's own types, which some recordings lack.

    A reader that finds some definitions in a recording expects all of them there.
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


def _check_place(source: Path, out: Path, partial: Path) -> None:
    if out.exists():
        raise InputError(f"{out} exists already, expected a new recording")
    if out.suffix == ".db3":
        raise InputError(f"{out}: expected a folder or an .mcap file")
    place = source.resolve()
    if place in out.resolve().parents:
        raise InputError(f"{out} lies in {source}, expected another place")
    if partial.resolve() in (place, *place.parents):
        raise InputError(f"{source} is where {out} is written, expected another place")


def _choose_cameras(source: Path, wanted: Wanted, survey: Survey, damage: Notes) -> list[Camera]:
    """The cameras. A damaged recording may have none left; it is written without detections."""
    try:
        cameras = choose_cameras(source, survey.types, survey.encodings, wanted)
    except InputError as error:
        if not damage.count or wanted.images:
            raise
        print(error, file=sys.stderr)
        return []
    for camera in cameras:
        _warn_of_projection(camera, survey)
        for name in RESULTS:
            if f"{camera.results}/{name}" in survey.types:
                raise InputError(
                    f"{source} has {camera.results}/{name} already: give another --prefix"
                )
    return cameras


def _warn_of_projection(camera: Camera, survey: Survey) -> None:
    """Warn where P is used although names and numbers speak for raw images."""
    infos = survey.infos.get(camera.infos)
    if not camera.rectified or is_rectified(camera.images) or not infos:
        return
    try:
        info = deserialize_message(infos[0][1], CameraInfo)
    except Exception:  # each of its frames is counted as not usable later
        return
    if any(info.d):
        _print_line(
            f"{camera.images}: P of {camera.infos} is used, but the topic is not named like "
            "image_rect and D is not zero: if the images are raw, distances are wrong; use --raw"
        )


def _print_line(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _ignore(spot: str) -> None:
    """Take damage that the survey has reported already."""
