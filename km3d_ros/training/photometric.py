"""Random variation of light, lens and sensor, with Kornia."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from km3d_ros.errors import InputError, pip_install

OPERATIONS = (2, 6)
"""Number of changes of one view: from the first number to less than the second."""


def varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image with random changes of light, colour, blur, noise and compression.

    image: (H, W, 3) uint8 BGR, in and out. The geometry does not change.
    """
    pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    # Kornia uses PyTorch's global generator, whose state must stay that of the training.
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
        raise InputError(f"training needs Kornia: {pip_install('kornia')}") from error

    class RandomGamma(ka.RandomGamma):
        """Kornia 0.8 returns NaN for the negative values that noise may leave; 0.9 clamps them."""

        def apply_transform(
            self, input: torch.Tensor, *args: object, **kwargs: object
        ) -> torch.Tensor:
            return super().apply_transform(input.clamp(0, 1), *args, **kwargs)

    weighted = (
        (3, RandomGamma((0.6, 1.7), p=1)),
        (3, ka.RandomBrightness((0.75, 1.25), p=1)),
        (3, ka.RandomContrast((0.7, 1.3), p=1)),
        (3, ka.RandomSaturation((0.3, 1.6), p=1)),
        (2, ka.RandomPlanckianJitter(p=1)),
        (2, ka.RandomLinearIllumination(gain=(0.05, 0.3), p=1)),
        (2, ka.RandomGaussianBlur((5, 5), (0.3, 1.6), p=1)),
        (2, ka.RandomGaussianNoise(0.0, 0.03, p=1)),
        (1, ka.RandomMotionBlur(5, 15.0, 0.5, p=1)),
        (1, ka.RandomJPEG((25.0, 90.0), p=1)),
        (0.3, ka.RandomGrayscale(p=1)),
    )
    weights, operations = zip(*weighted, strict=True)
    # random_apply is faster than probabilities per operation: Kornia computes those always.
    return ka.AugmentationSequential(
        *operations, random_apply=OPERATIONS, random_apply_weights=list(weights)
    )
