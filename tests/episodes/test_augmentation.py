"""Augmentation, as functions of images and of uniform random numbers."""

import math
import re
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import composed, episode
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F

from metalearn.data.bank import ClassBank
from metalearn.episodes.augmentation import Affine, Augmentation, CropFlipJitter, Unchanged, augmented
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.sampling import draw, draw_random
from metalearn.episodes.setting import Setting, Shape
from metalearn.types import SPLITS, Episode, Split

CENTRES = (2 * torch.arange(12) + 1) / 12 - 1
"""Coordinates of the centres of 12 pixels, from -1 to 1."""


def pictures(channels: int = 3) -> Tensor:
    return torch.rand(4, channels, 12, 12, generator=torch.Generator().manual_seed(0))


def affine(**settings: object) -> Affine:
    still = {"rotation": 0.0, "shear": 0.0, "scale": (1.0, 1.0), "shift": 0.0, "share": 1.0}
    return Affine(**(still | settings))


def crop(**settings: float) -> CropFlipJitter:
    return CropFlipJitter(**({"area": 1.0, "stretch": 1.0, "jitter": 0.0} | settings))


def numbers(augmentation: Augmentation) -> Tensor:
    return torch.full((4, augmentation.num_random), 0.5)


@pytest.mark.parametrize("augmentation", [Unchanged(), affine(), crop()])
def test_nothing_happens_without_a_range(augmentation: Augmentation) -> None:
    images = pictures()
    torch.testing.assert_close(augmentation(images, numbers(augmentation)), images)


def test_a_flip_mirrors_and_half_of_the_images_are_flipped() -> None:
    augmentation, images = crop(), pictures()
    random = numbers(augmentation)
    random[:2, 4] = 0.49
    mirrored = augmentation(images, random)
    torch.testing.assert_close(mirrored[:2], images[:2].flip(3))
    torch.testing.assert_close(mirrored[2:], images[2:])


def sources(augmentation: Augmentation, random: Tensor) -> Tensor:
    """Returns the x and y, from -1 to 1, that each new pixel reads: (B, K) -> (B, 2, 12, 12)."""
    y, x = torch.meshgrid(CENTRES, CENTRES, indexing="ij")
    ramps = (torch.stack([x, y, torch.zeros_like(x)]) + 1) / 2
    return 2 * augmentation(ramps.expand(len(random), -1, -1, -1), random)[:, :2] - 1


def test_a_crop_lies_within_the_image_and_has_the_drawn_area_and_aspect_ratio() -> None:
    drawn = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 4)  # area, aspect ratio, x and y
    random = torch.cat([drawn, torch.full((len(drawn), 4), 0.5)], 1)
    places = sources(crop(area=0.25, stretch=4 / 3), random)
    for (size, stretch, *place), found in zip(drawn, places, strict=True):
        area, ratio = 0.25 + 0.75 * size, (4 / 3) ** (2 * stretch - 1)
        sides = [min((area * ratio) ** 0.5, 1), min((area / ratio) ** 0.5, 1)]  # fractions of width and height
        # A crop begins between the first edge of the image and the last one that its size allows.
        x, y = (-1 + 2 * at * (1 - side) + side * (CENTRES + 1) for at, side in zip(place, sides, strict=True))
        expected = torch.stack([x.expand(12, -1), y[:, None].expand(-1, 12)])
        inside = (expected.abs() < 11 / 12).all(0)  # other pixels mix with those outside
        torch.testing.assert_close(found[:, inside], expected[:, inside])


def test_colours_are_scaled_about_black_the_mean_and_grey() -> None:
    augmentation, images = crop(jitter=0.4), 0.4 * pictures() + 0.3
    luminance = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    mean = luminance.mean((1, 2, 3), keepdim=True)
    for index, base in ((5, torch.zeros(())), (6, mean), (7, luminance)):  # brightness, contrast, saturation
        for number, factor in ((0.0, 0.6), (1.0, 1.4)):
            random = numbers(augmentation)
            random[:, index] = number
            torch.testing.assert_close(augmentation(images, random), base + factor * (images - base))


def test_brightness_ends_at_white_before_the_contrast_changes() -> None:
    images = torch.tensor([0.5, 1.0]).repeat(4, 3, 2, 1)  # (4, 3, 2, 2)
    augmentation = crop(jitter=0.4)
    random = numbers(augmentation)
    random[:, 5], random[:, 6] = 1.0, 0.0  # 1.4 times as bright, 0.6 of the contrast
    # 0.7 and 1, not 1.4, around their mean 0.85
    torch.testing.assert_close(augmentation(images, random)[0, 0, 0], torch.tensor([0.76, 0.94]))
    random[:, 5], random[:, 6] = 0.5, 1.0  # 1.4 times the contrast about 0.75
    torch.testing.assert_close(augmentation(images, random)[0, 0, 0], torch.tensor([0.4, 1.0]))


def test_a_quarter_turn_a_shift_and_a_scale() -> None:
    images = pictures(1)
    farthest = torch.cat([torch.ones(4, 6), torch.zeros(4, 6)], 1)  # largest change, for all images
    turn = affine(rotation=90.0)
    torch.testing.assert_close(turn(images, farthest), images.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    shift = affine(shift=1 / 6)
    moved = shift(images, farthest)  # shift by two pixels in both axes
    torch.testing.assert_close(moved[:, :, :-2, :-2], images[:, :, 2:, 2:], atol=1e-5, rtol=0)
    assert not moved[:, :, -2:].any()
    grow = affine(scale=(2.0, 2.0))
    middle = torch.zeros(4, 1, 12, 12)
    middle[:, :, 4:8, 4:8] = 1
    assert grow(middle, numbers(grow)).sum() == pytest.approx(4 * middle.sum().item(), rel=0.1)


def test_a_map_is_a_shear_then_a_rotation_then_a_scale_and_a_shift_each_with_its_chance() -> None:
    random = torch.rand(64, 12, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(CENTRES, CENTRES, indexing="ij")
    changed = sources(affine(rotation=20.0, shear=0.3, scale=(0.8, 1.2), shift=0.1, share=0.5), random)
    for numbers_, found in zip(random, changed, strict=True):
        # Between -1 and 1, and 0 where the change is not made.
        angle, shear_x, shear_y, scale, shift_x, shift_y = torch.where(numbers_[6:] < 0.5, 2 * numbers_[:6] - 1, 0)
        cos, sin = (20 * angle).deg2rad().cos(), (20 * angle).deg2rad().sin()
        sheared_x, sheared_y = x + 0.3 * shear_x * y, y + 0.3 * shear_y * x
        turned = torch.stack([cos * sheared_x - sin * sheared_y, sin * sheared_x + cos * sheared_y])
        # A shift by the whole side is one by 2.
        expected = turned / (1 + 0.2 * scale) + 0.2 * torch.stack([shift_x, shift_y])[:, None, None]
        inside = (expected.abs() < 11 / 12).all(0)
        torch.testing.assert_close(found[:, inside], expected[:, inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [{"rotation": 30.0}, {"shear": 0.5}, {"rotation": 30.0, "shear": 0.5}], ids=str)
@pytest.mark.parametrize("margins", [(12, 12, 0, 0), (0, 0, 12, 12)], ids=["wide", "tall"])
def test_a_map_does_not_depend_on_the_shape_of_the_image(settings: dict[str, float], margins: tuple[int, ...]) -> None:
    augmentation, images = affine(**settings), pictures(1)
    random = torch.rand(4, 12, generator=torch.Generator().manual_seed(0))
    changed = augmentation(F.pad(images, margins), random)
    middle = F.pad(changed, [-margin for margin in margins])
    torch.testing.assert_close(middle, augmentation(images, random), atol=1e-5, rtol=0)


def test_only_the_share_is_changed() -> None:
    augmentation = affine(rotation=90.0, share=0.5)
    random = torch.rand(4, 12)
    random[:, 0], random[:2, 6], random[2:, 6] = 1.0, 0.4, 0.6
    images = pictures()
    changed = [not torch.allclose(a, b, atol=1e-4) for a, b in zip(augmentation(images, random), images, strict=True)]
    assert changed == [True, True, False, False]


@pytest.mark.parametrize("name", ["none", "natural", "characters", "new_characters"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_option_keeps_shape_and_range(name: str, channels: int) -> None:
    augmentation = instantiate(composed(f"augmentation={name}").augmentation)
    batch = episode(size=28)
    batch = batch._replace(
        support_x=batch.support_x.repeat(1, 1, channels, 1, 1) / 2,
        query_x=batch.query_x.repeat(1, 1, channels, 1, 1) / 2,
    )
    rows = batch.support_x.shape[1] + batch.query_x.shape[1]
    other = augmented(batch, augmentation, torch.rand(2, rows, augmentation.num_random))
    for before, after in zip(batch, other, strict=True):
        assert before.shape == after.shape
        assert after.min() >= 0 and after.max() <= 1
    assert torch.equal(other.query_x, batch.query_x) == (name == "none")


def test_the_random_numbers_belong_to_the_episode(bank: ClassBank) -> None:
    def data(seed: int) -> EpisodicDataModule:
        return EpisodicDataModule(
            dict.fromkeys(SPLITS, bank),
            dict.fromkeys(SPLITS, Setting(3, 1, 2, num_episodes=1)),
            seed=seed,
            tasks_per_batch=2,
            augmentation=affine(),
        )

    first, again, other = data(0).draw("train", 5), data(0).draw("train", 5), data(1).draw("train", 5)
    assert first.random.shape == (9, 12)
    assert first.random.unique().numel() == 9 * 12
    assert torch.equal(first.random, again.random)
    assert not torch.equal(first.random, other.random)
    assert not torch.equal(first.random, data(0).draw("train", 6).random)
    assert data(0).draw("test", 5).random.numel() == 0
    numbers = torch.cat([data(0).draw("train", index).random.flatten() for index in range(100)]).view(torch.float32)
    assert numbers.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / len(numbers)))


def test_the_random_numbers_say_nothing_of_the_classes() -> None:
    rows, drawn = [np.arange(9 * c, 9 * c + 9) for c in range(60)], []
    for index in range(400):
        which = {"seed": 0, "split": "train", "index": index}
        classes = draw(rows, Shape((1,) * 5, (1,) * 5), **which).support_rows // 9
        drawn.append(
            [*classes, *draw_random(affine(), torch.zeros(1, dtype=torch.int64), **which)[0].view(torch.float32)]
        )
    assert np.abs(np.corrcoef(drawn, rowvar=False)[:5, 5:]).max() < 4 / 400**0.5


@pytest.mark.parametrize("name", ["natural", "characters", "new_characters"])
def test_every_precision_sees_the_same_images(name: str, bank: ClassBank) -> None:
    seen = {}
    for precision in ("32-true", "64-true", "bf16-true", "bf16-mixed"):
        data = EpisodicDataModule(
            dict.fromkeys(SPLITS, bank),
            dict.fromkeys(SPLITS, Setting(3, 1, 2, num_episodes=1)),
            seed=0,
            tasks_per_batch=2,
            augmentation=instantiate(composed(f"augmentation={name}").augmentation),
        )
        batch = data.collate([data.draw("train", index) for index in range(2)])
        plugin = pl.Trainer(accelerator="cpu", precision=precision, logger=False).precision_plugin
        seen[precision] = data.episodes(plugin.convert_input(batch), "train").query_x
    for other in seen.values():
        assert torch.equal(other, seen["32-true"])


def test_an_augmentation_that_breaks_its_contract_is_refused() -> None:
    class Turned:
        num_random = 0

        def __call__(self, images: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
            return images.transpose(2, 3).contiguous()

    images = np.arange(5 * 4 * 8 * 6, dtype=np.uint8).reshape(5, 4, 1, 8, 6)
    bank, setting = ClassBank.from_classes(images, list("abcde")), Setting(5, 1, 1)
    data = EpisodicDataModule({"train": bank}, {"train": setting}, seed=0, tasks_per_batch=1, augmentation=Turned())
    with pytest.raises(ValueError, match=r"Turned turns images \(1, 8, 6\) into \(1, 6, 8\): it must keep the shape"):
        data.episodes(data.collate([data.draw("train", 0)]), "train")
    with pytest.raises(ValueError, match="the augmentation function has no num_random, the number of random numbers"):
        EpisodicDataModule({"train": bank}, {"train": setting}, seed=0, tasks_per_batch=1, augmentation=lambda x, r: x)


@pytest.mark.parametrize("split", ["train", "test"])  # fine-tuning augments in a test
def test_images_of_other_channels_have_no_colours_to_change(split: Split) -> None:
    images = np.arange(5 * 4 * 2 * 64, dtype=np.uint8).reshape(5, 4, 2, 8, 8)
    banks, settings = {split: ClassBank.from_classes(images, list("abcde"))}, {split: Setting(5, 1, 1, num_episodes=1)}
    with pytest.raises(ValueError, match="natural takes images of 1 or 3 channels, not 2: type augmentation=none"):
        EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=1, augmentation=crop())
    data = EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=1, augmentation=affine())
    assert data.episodes(data.collate([data.draw(split, 0)]), split).query_x.shape == (1, 5, 2, 8, 8)


def test_each_row_has_its_own_numbers() -> None:
    augmentation, batch = crop(area=0.5, jitter=0.4), episode(tasks=2, way=3, shot=1, query=2, size=12)
    images = torch.cat([batch.support_x, batch.query_x], 1).sigmoid()
    random = torch.rand(2, images.shape[1], augmentation.num_random)
    changed = augmented(Episode(images[:, :3], batch.support_y, images[:, 3:], batch.query_y), augmentation, random)
    for found, before, numbers_ in zip(torch.cat([changed.support_x, changed.query_x], 1), images, random, strict=True):
        torch.testing.assert_close(found, augmentation(before, numbers_))


@pytest.mark.parametrize("augmentation", [affine(shift=0.2), crop(area=0.5)])
def test_a_batch_of_base_classes_has_no_support_to_augment(augmentation: Augmentation) -> None:
    images, none = pictures()[None], torch.empty(1, 0, 3, 12, 12)
    random = torch.rand(1, 4, augmentation.num_random)
    changed = augmented(Episode(none, torch.empty(1, 0, 2), images, torch.empty(1, 4, 2)), augmentation, random)
    assert changed.support_x.shape == none.shape
    torch.testing.assert_close(changed.query_x[0], augmentation(images[0], random[0]))


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        *((crop, {"area": area}) for area in (0.0, 1.5)),
        (crop, {"stretch": 0.5}),
        *((crop, {"jitter": jitter}) for jitter in (-0.1, 1.5)),
        *((affine, {"scale": scale}) for scale in ((0.0, 1.0), (1.2, 0.8))),
        *((affine, {"share": share}) for share in (-0.1, 1.5)),
    ],
)
def test_impossible_settings_are_refused(function: Callable[..., Augmentation], settings: dict[str, Any]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=re.escape(f"{name}={value}")):
        function(**settings)
