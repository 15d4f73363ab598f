"""A small camera with one lens of each kind, its calibration file, and a picture."""

import cv2
import numpy as np
import yaml

WIDTH, HEIGHT = 160, 96
K = np.array([[110.0, 0, 82.5], [0, 108, 46], [0, 0, 1]])
P = np.array([[100.0, 0, 80, -7], [0, 101, 47, 0], [0, 0, 1, 0]])
RAW = K @ np.column_stack((np.eye(3), (-0.07, 0, 0)))
"""K with the translation of P: the projection of what is made of a raw image."""
LENSES = {
    "plumb_bob": [-0.3, 0.1, 0.002, -0.001, 0.02],
    "rational_polynomial": [0.4, -0.2, 0.001, 0.001, 0.02, 0.7, -0.1, 0.05],
    "equidistant": [-0.02, 0.01, -0.003, 0.001],
}


def picture(seed=0):
    """Smooth noise of full contrast, so that small shifts make small differences."""
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def difference(image, other):
    """Mean absolute difference of two images; JPEG's is about 1.5."""
    return np.abs(image.astype(float) - other).mean()


def ros_calibration(path, model="plumb_bob", coefficients=(0.0,) * 5, **changes):
    """A file as camera_calibration writes it."""
    entries = {
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "camera_name": "front",
        "camera_matrix": {"rows": 3, "cols": 3, "data": K.flatten().tolist()},
        "distortion_model": model,
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": list(coefficients)},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": np.eye(3).flatten().tolist()},
        "projection_matrix": {"rows": 3, "cols": 4, "data": P.flatten().tolist()},
    }
    entries = {name: value for name, value in (entries | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(entries))
    return path
