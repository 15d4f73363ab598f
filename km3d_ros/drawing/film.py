"""Pictures as a film."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from km3d_ros.errors import InputError, pip_install


class FilmWriter:
    """Writes pictures of one size to an H.264 file; a context manager that completes it.

    path: the file, .mp4. rate: pictures per second.

    Raises:
        InputError: PyAV is not installed.
    """

    def __init__(self, path: Path, rate: float) -> None:
        try:
            import av
        except ImportError as error:
            raise InputError(f"films need the package av: {pip_install('av')}") from error
        self._frame = av.VideoFrame
        self._container = av.open(str(path), "w")
        pace = Fraction(rate).limit_denominator(1000)
        self._stream = self._container.add_stream("h264", rate=pace, options={"crf": "18"})
        self._stream.pix_fmt = "yuv420p"
        self._started = False

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, picture: np.ndarray) -> None:
        """Append a picture (h, w, 3) uint8 BGR; an odd last row or column is left out."""
        if not self._started:  # yuv420p needs even sides
            self._stream.height, self._stream.width = (s - s % 2 for s in picture.shape[:2])
            self._started = True
        even = np.ascontiguousarray(picture[: self._stream.height, : self._stream.width])
        frame = self._frame.from_ndarray(even, format="bgr24")
        self._container.mux(self._stream.encode(frame))
