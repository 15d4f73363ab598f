import sys

import numpy as np
import pytest
import torch

from km3d_ros.errors import InputError
from km3d_ros.training import photometric
from km3d_ros.training.photometric import varied

SEEDS = range(24)


@pytest.fixture(scope="module")
def street():
    """A dark image with a bright block whose left and top edges are at 60 and 30."""
    image = np.full((80, 128, 3), 40, np.uint8)
    image[30:, 60:] = (190, 200, 210)
    return image


@pytest.fixture(scope="module")
def pictures(street):
    return [varied(street, np.random.default_rng(seed)) for seed in SEEDS]


def test_same_generator_gives_the_same_picture(street, pictures):
    for seed in SEEDS[:6]:
        assert np.array_equal(varied(street, np.random.default_rng(seed)), pictures[seed])


def test_pictures_differ(street, pictures):
    levels = {tuple(picture.mean((0, 1)).round(1)) for picture in pictures}
    assert len(levels) > len(SEEDS) / 2
    assert sum(np.array_equal(picture, street) for picture in pictures) < len(SEEDS) / 4


def test_generators_of_the_training_are_not_touched(street):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    varied(street, np.random.default_rng(0))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_generators_of_gpus_are_not_touched(street, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded"))
    assert varied(street, np.random.default_rng(0)).shape == street.shape


def test_picture_of_any_size_keeps_it(street):
    for image in (street, street[:, ::-1], street[:33, :65]):
        original = image.copy()
        picture = varied(image, np.random.default_rng(1))
        assert picture.shape == image.shape
        assert picture.dtype == np.uint8
        assert picture.flags["C_CONTIGUOUS"]
        assert np.array_equal(image, original)


def test_noise_and_gamma_follow_each_other_in_any_order(monkeypatch):
    import kornia.augmentation as ka

    kept = (ka.RandomGamma, ka.RandomGaussianNoise, ka.RandomSaturation)
    every = photometric._operations()
    chosen = [operation for operation in every.children() if isinstance(operation, kept)]
    assert len(chosen) == 3
    only = ka.AugmentationSequential(*chosen, random_apply=3)
    monkeypatch.setattr(photometric, "_operations", lambda: only)
    for seed in SEEDS:
        assert varied(np.zeros((32, 32, 3), np.uint8), np.random.default_rng(seed)).max() < 128


def test_nothing_moves(pictures):
    for picture in pictures:
        light = picture.astype(float).mean(-1)
        for profile, edge in ((light[40:70].mean(0), 60), (light[:, 75:110].mean(1), 30)):
            low, high = (
                profile[edge - 25 : edge - 10].mean(),
                profile[edge + 10 : edge + 25].mean(),
            )
            assert high > low + 20
            # Where it passes the middle between dark and bright, in whole pixels before.
            steps = profile[edge - 8 : edge + 8] > (low + high) / 2
            assert abs(8 - steps.argmax()) <= 1


def test_colours_keep_their_channels():
    blue = np.zeros((48, 64, 3), np.uint8)
    blue[..., 0], blue[..., 2] = 230, 60
    found = [varied(blue, np.random.default_rng(s)).mean((0, 1)).argmax() for s in SEEDS]
    # Some become grey.
    assert found.count(0) >= len(SEEDS) - 4


def test_missing_kornia_is_named_and_may_be_installed_later(street, monkeypatch):
    photometric._operations.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "kornia.augmentation", None)
        with pytest.raises(InputError, match=r"^training needs Kornia: pip install kornia"):
            varied(street, np.random.default_rng(0))
    assert varied(street, np.random.default_rng(0)).shape == street.shape
