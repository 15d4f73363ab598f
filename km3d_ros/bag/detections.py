"""`km3d bag`: a recording in, the same recording with detections out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rosbags.typesys import Stores, get_typestore
from tqdm import tqdm

from km3d_ros import __version__
from km3d_ros.bag.answers import Answers
from km3d_ros.bag.cameras import IMAGE_TYPES, Camera, choose_cameras
from km3d_ros.bag.journal import Journal, Result
from km3d_ros.bag.recording import Recording
from km3d_ros.bag.records import Message, Topic
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
        """The folder that keeps what was done so far."""
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
        if result.detections is None:
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


def detect_in_bag(request: Request, detector: Detector, settings: Mapping[str, Any]) -> Summary:
    """Detect in every image of a recording, and write it with the detections beside the images.

    What is done stays in `request.partial` until `request.out` is complete: the same call goes on
    where it was interrupted.

    Args:
        request: what is to be done.
        detector: its device is part of what must not change until the recording is complete.
        settings: of the detector, which must not change either, as JSON has them.

    Raises:
        InputError: no recording, nothing in it to work on, nothing that can be answered, or
            no place to write.
    """
    _check_place(request)
    recording = Recording(request.source, request.partial / "unpacked")
    _forget_unpacked(request)
    try:
        damage = Notes("damaged spots")
        survey = Survey.of(recording.messages(damage))
        damage.finish()
        if not survey.messages:
            raise InputError(f"{request.source}: there is no message that can be read")
        cameras = _choose_cameras(request, survey, damage)
        request.partial.mkdir(parents=True, exist_ok=True)
        run = {
            "source": str(request.source.resolve()),
            "files": _states(recording),
            "cameras": [list(vars(camera).values()) for camera in cameras],
            **settings,
            "backend": str(detector.choice),
            "threads": torch.get_num_threads(),
            "versions": [__version__, torch.__version__],
        }
        with Journal(request.partial / "journal.db3", run) as journal:
            answers = Answers(detector, cameras, survey.infos)
            work = _Work(request, recording, survey, cameras, journal, answers)
            work.detect()
            if _states(recording) != run["files"]:
                raise InputError(f"{request.source} was changed while it was read")
            summaries = work.assemble()
    finally:
        _forget_unpacked(request)
    shutil.rmtree(request.partial)
    places = str(request.source), str(request.out)
    return Summary(*places, survey.messages, damage.count, summaries)


class _Work:
    """The two steps: results into the journal, and from there into the new recording."""

    def __init__(
        self,
        request: Request,
        recording: Recording,
        survey: Survey,
        cameras: Sequence[Camera],
        journal: Journal,
        answers: Answers,
    ) -> None:
        self._request = request
        self._recording = recording
        self._survey = survey
        self._cameras = cameras
        self._journal = journal
        self._answers = answers

    def detect(self) -> None:
        """Answer the images that the journal does not have yet.

        Raises:
            InputError: there are images, and none of them can be answered.
        """
        total = sum(self._survey.images[camera.images] for camera in self._cameras)
        done = len(self._journal)
        unusable = Notes("frames that cannot be used")
        images = (m for m in self._messages() if self._is_image(m))
        with tqdm(
            desc="Detecting", total=total, initial=done, unit="frame", disable=None
        ) as progress:
            for message in islice(images, done, None):
                result = self._answers(message)
                self._journal.add(result)
                progress.update()
                if result.cause:
                    name = f"{message.topic.name} at {message.time} ns"
                    unusable(f"{self._request.source}: {name}: {result.cause}: {result.reason}")
        unusable.finish()
        if total and not self._journal.has_detections():
            raise InputError(f"{self._request.source}: not one of {total} images can be used")

    def assemble(self) -> list[CameraSummary]:
        """Write the new recording."""
        summaries = {
            c.images: CameraSummary(c.images, c.infos, f"{c.results}/detections")
            for c in self._cameras
        }
        results = iter(self._journal)
        storage, compression = self._recording.storage, self._recording.compression()
        scratch = self._request.partial / "result"
        progress = tqdm(
            self._messages(), "Writing", self._survey.messages, unit="message", disable=None
        )
        with RecordingWriter(self._request.out, scratch, storage, compression) as writer:
            topics = _Definitions()
            for message in progress:
                writer.write(message._replace(topic=topics[message.topic]))
                if self._is_image(message):
                    result = next(results)
                    summaries[message.topic.name].count(result)
                    for answer in self._as_messages(message, result):
                        writer.write(answer)
        return list(summaries.values())

    def _messages(self) -> Iterator[Message]:
        """Damage was reported when the recording was looked through."""
        return self._recording.messages(lambda spot: None)

    def _is_image(self, message: Message) -> bool:
        return message.topic.name in self._answers.topics and message.topic.type in IMAGE_TYPES

    def _as_messages(self, image: Message, result: Result) -> Iterator[Message]:
        """The results of an image, recorded when it was."""
        found = result.detections, result.objects
        for topic, data in zip(self._answers.topics[image.topic.name], found, strict=True):
            if data is not None:
                yield Message(topic, image.time, data, image.time)


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
    if request.source.resolve() in out.resolve().parents:
        raise InputError(f"{out} lies in {request.source}, expected another place")


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


def _states(recording: Recording) -> list[list[Any]]:
    """Name, size and date of the files."""
    stats = [(file.name, file.stat()) for file in recording.files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _forget_unpacked(request: Request) -> None:
    """Delete files that were unpacked, and the folder for them where there is nothing else."""
    shutil.rmtree(request.partial / "unpacked", ignore_errors=True)
    with suppress(OSError):
        request.partial.rmdir()
