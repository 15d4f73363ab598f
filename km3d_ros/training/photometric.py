"""Other light, lens and sensor: what makes pictures of one street look different (Kornia)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from km3d_ros.errors import InputError


def varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image as another camera, at another hour, would have stored it.

    image: (H, W, 3) uint8 BGR, in and out. Nothing moves.
    """
    pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    # Kornia draws from PyTorch's generator, which belongs to the training.
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        pixels = _operations()(pixels)
    changed = (pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(changed[..., ::-1])


@cache
def _operations() -> torch.nn.Module:
    try:
        import kornia.augmentation as ka
    except ImportError as error:
        raise InputError("training needs Kornia: pip install kornia") from error
    return ka.AugmentationSequential(
        ka.RandomGamma((0.6, 1.7), p=0.5),
        ka.RandomBrightness((0.75, 1.25), p=0.5),
        ka.RandomContrast((0.7, 1.3), p=0.5),
        ka.RandomSaturation((0.3, 1.6), p=0.5),
        ka.RandomPlanckianJitter(p=0.3),
        ka.RandomLinearIllumination(gain=(0.05, 0.3), p=0.3),
        ka.RandomGaussianBlur((5, 5), (0.3, 1.6), p=0.3),
        ka.RandomMotionBlur(5, 15.0, 0.5, p=0.1),
        ka.RandomGaussianNoise(0.0, 0.03, p=0.3),
        ka.RandomJPEG((25.0, 90.0), p=0.15),
        ka.RandomGrayscale(p=0.05),
    )
