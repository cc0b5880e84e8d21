"""New characters: classes that a distortion turns into others, one for all images of a class."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.episodes.augmentation import Affine
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.new_characters import Distortion, NewCharacters
from metalearn.episodes.setting import Setting
from metalearn.types import SPLITS

CENTRES = (2 * torch.arange(12) + 1) / 12 - 1
"""Coordinates of the centres of 12 pixels, from -1 to 1."""
STILL = Affine(rotation=0, shear=0, scale=(1, 1), shift=0, share=1)


def distortion(affine: Affine = STILL, **settings: float) -> Distortion:
    return Distortion(affine, **({"shift": 0.0, "points": 2} | settings))


def new_characters(**settings: Any) -> NewCharacters:
    return NewCharacters(**({"mirror": 0.0, "of_class": distortion(), "of_image": distortion()} | settings))


def sources(augmentation: NewCharacters, random: Tensor) -> Tensor:
    """Returns the x and y, from -1 to 1, that each new pixel reads: (B, K) -> (B, 2, 12, 12)."""
    y, x = torch.meshgrid(CENTRES, CENTRES, indexing="ij")
    ramps = (torch.stack([x, y]) + 1) / 2
    return 2 * augmentation(ramps.expand(len(random), -1, -1, -1), random) - 1


def test_nothing_happens_without_a_range() -> None:
    augmentation, images = new_characters(), torch.rand(4, 1, 12, 12)
    torch.testing.assert_close(augmentation(images, torch.rand(4, augmentation.num_random)), images)


def test_a_class_is_mirrored_with_its_probability() -> None:
    augmentation, images = new_characters(mirror=0.5), torch.rand(4, 1, 12, 12)
    random = torch.rand(4, augmentation.num_random)
    random[:, 0] = torch.tensor([0.0, 0.49, 0.51, 0.99])
    changed = augmentation(images, random)
    torch.testing.assert_close(changed[:2], images[:2].flip(3))
    torch.testing.assert_close(changed[2:], images[2:])


def test_without_shifts_images_have_affine_maps_whatever_their_sides() -> None:
    affine, images = Affine(rotation=30, shear=0.3, scale=(0.8, 1.2), shift=0.1, share=0.9), torch.rand(4, 3, 9, 15)
    augmentation = new_characters(of_image=distortion(affine))
    random = torch.rand(4, augmentation.num_random)
    of_image = random[:, augmentation.num_of_class :]
    torch.testing.assert_close(augmentation(images, random), affine(images, of_image[:, :12]), atol=1e-5, rtol=1e-5)


def test_shifts_are_interpolated_between_points() -> None:
    augmentation = new_characters(of_image=distortion(shift=0.1))
    random = torch.full((1, augmentation.num_random), 0.5)
    random[0, -8:-4] = torch.tensor([0.0, 1.0, 0.5, 0.5])  # x: to the left and right above, none below
    found = sources(augmentation, random)[0]
    # The two points of an axis lie at -1/2 and 1/2; a shift by 0.1 of the side is one by 0.2.
    across, above = (2 * CENTRES).clamp(-1, 1), (1 - 2 * CENTRES).clamp(0, 2) / 2
    expected = torch.stack([CENTRES + 0.2 * above[:, None] * across, CENTRES[:, None].expand(12, 12)])
    inside = (expected.abs() < 11 / 12).all(0)
    torch.testing.assert_close(found[:, inside], expected[:, inside], atol=1e-5, rtol=0)


def test_the_map_of_an_image_comes_before_that_of_its_class() -> None:
    # A pixel of the new drawing lies somewhere on the new character, which lies on the old one.
    turn = Affine(rotation=90, shear=0, scale=(1, 1), shift=0, share=1)
    move = Affine(rotation=0, shear=0, scale=(1, 1), shift=1 / 6, share=1)
    augmentation = new_characters(of_class=distortion(turn), of_image=distortion(move))
    random = torch.full((1, augmentation.num_random), 0.5)
    random[0, 1] = 1.0  # a quarter turn of the class
    random[0, augmentation.num_of_class + 4] = 1.0  # the image reads two pixels further along x
    image = torch.zeros(1, 1, 12, 12)
    image[..., 4:8, 5:7] = torch.rand(4, 2)
    expected = image.rot90(1, (2, 3)).roll(-2, 3)
    torch.testing.assert_close(augmentation(image, random), expected, atol=1e-5, rtol=0)


def data(bank: ClassBank, **settings: Any) -> EpisodicDataModule:
    return EpisodicDataModule(
        dict.fromkeys(SPLITS, bank),
        dict.fromkeys(SPLITS, Setting(3, 2, 2, num_episodes=1)),
        seed=0,
        tasks_per_batch=2,
        augmentation=new_characters(mirror=0.5, of_class=distortion(shift=0.1), of_image=distortion(shift=0.1)),
        **settings,
    )


def test_the_images_of_a_class_share_its_numbers_and_no_others(bank: ClassBank) -> None:
    drawn = data(bank).draw("train", 0)
    ways, of_class = torch.cat([drawn.support_ways, drawn.query_ways]), 1 + 12 + 8
    shared, own = drawn.random[:, :of_class], drawn.random[:, of_class:]
    for row, way in zip(shared, ways, strict=True):
        assert ((shared == row).all(1) == (ways == way)).all()
    assert shared.unique().numel() == 3 * of_class
    assert own.unique().numel() == own.numel()


def test_support_and_queries_of_a_class_change_alike() -> None:
    # The images of a class are equal here, so that their common distortion leaves them equal.
    images = np.random.default_rng(0).integers(0, 255, (5, 1, 1, 12, 12), np.uint8).repeat(4, 1)
    bank = ClassBank.from_classes(images, list("abcde"))
    module = data(bank)
    module.augmentation.of_image = distortion()
    batch = module.episodes(module.collate([module.draw("train", index) for index in range(2)]), "train")
    for task in batch.tasks():
        means = task.support_y.T @ task.support_x.flatten(1) / 2  # (N, D)
        torch.testing.assert_close(task.query_x.flatten(1), task.query_y @ means)
        assert not any((bank.images.flatten(1) / 255 - mean).abs().amax(1).min() < 0.05 for mean in means)


def test_base_classes_cannot_change(bank: ClassBank) -> None:
    message = (
        "NewCharacters makes new classes in each episode, but base classes must stay the same: type augmentation=c"
    )
    with pytest.raises(ValueError, match=message):
        data(bank, batch_size=8)


def test_a_head_of_base_classes_is_tested_with_the_augmentation_of_its_weights(bank: ClassBank) -> None:
    setting = Setting(3, 2, 2, num_episodes=1)
    settings = {"seed": 0, "tasks_per_batch": 1, "batch_size": 8, "augmentation": new_characters()}
    assert len(EpisodicDataModule({"test": bank}, {"test": setting}, **settings).draw("test", 0).query_rows) == 6


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (new_characters, {"mirror": -0.1}, "mirror=-0.1 must be a probability, from 0 to 1"),
        (new_characters, {"mirror": 1.5}, "mirror=1.5 must be a probability, from 0 to 1"),
        (distortion, {"shift": -0.1}, "shift=-0.1 must not be negative"),
        (distortion, {"points": 0}, "points=0 at least 1"),
    ],
)
def test_impossible_settings_are_refused(
    function: Callable[..., object], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        function(**settings)
