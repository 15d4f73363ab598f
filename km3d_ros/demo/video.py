"""The results of a demo as a video and three of its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from km3d_ros.data.kitti_labels import KittiObject
from km3d_ros.demo.recorded_frames import Answer
from km3d_ros.drawing.film import FilmWriter
from km3d_ros.drawing.from_above import draw_bev
from km3d_ros.drawing.on_image import draw_detections
from km3d_ros.drawing.tracks import draw_tracks_on_image

TOP_VIEW_HEIGHT = 400  # pixels
TOP_VIEW_RANGE = 64.0  # metres
PICTURES = (1 / 6, 1 / 2, 5 / 6)  # of the film


def compose(
    answer: Answer, truth: Sequence[KittiObject], class_names: Sequence[str]
) -> np.ndarray:
    """The camera image with boxes, and below it the scene from above with the truth in white.

    Both show the numbers and velocities of the tracked objects.
    """
    front = draw_detections(answer.image, answer.detections, answer.camera, class_names)
    draw_tracks_on_image(front, answer.tracks, answer.camera)
    above = draw_bev(
        answer.detections,
        answer.camera,
        class_names,
        size=(front.shape[1], TOP_VIEW_HEIGHT),
        range=TOP_VIEW_RANGE,
        ground_truth=truth,
        tracks=answer.tracks,
    )
    return np.vstack([front, above])


def write_film(
    folder: Path,
    answers: Sequence[Answer],
    truth: Mapping[int, Sequence[KittiObject]],
    class_names: Sequence[str],
    rate: float,
) -> list[Path]:
    """Write `overlay.mp4` (H.264) and three of its pictures into a folder; returns the paths.

    truth: true objects by stamp. rate: pictures per second.
    """
    film = folder / "overlay.mp4"
    chosen = {int(len(answers) * share): number for number, share in enumerate(PICTURES, 1)}
    paths = [film]
    with FilmWriter(film, rate) as writer:
        shown = tqdm(answers, "Drawing", unit="frame", leave=False, disable=None)
        for i, answer in enumerate(shown):
            picture = compose(answer, truth[answer.stamp], class_names)
            writer.write(picture)
            if i in chosen:
                paths.append(folder / f"frame_{chosen[i]}.png")
                cv2.imwrite(str(paths[-1]), picture)
    return paths
