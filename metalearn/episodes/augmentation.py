"""Augmentation of training images on the device, as pure functions of images and random numbers.

The random numbers are drawn with the episode, on the host. A run that is resumed, or shared by
several processes, therefore sees the same images as any other run.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.episodes.setting import Fault
from metalearn.types import Augmentation, Episode


class Unchanged:
    """Identity: no augmentation.

    Examples:
        >>> unchanged = Unchanged()
        >>> unchanged(torch.rand(2, 3, 84, 84), torch.rand(2, unchanged.num_random)).shape
        torch.Size([2, 3, 84, 84])
    """

    num_random = 0

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        return images


class CropFlipJitter:
    """Random resized crop, horizontal flip and colour jitter, for natural images.

    Chen et al. 2019, A Closer Look at Few-shot Classification, arXiv 1904.04232, with the defaults
    of torchvision.

    Args:
        area: smallest fraction of the image that a crop covers; the largest is 1.
        stretch: largest factor by which the aspect ratio of a crop differs from that of the image.
        jitter: largest change of brightness, contrast and saturation, as a fraction.

    Examples:
        >>> augment = CropFlipJitter(area=0.08, stretch=4 / 3, jitter=0.4)
        >>> augment(torch.rand(2, 3, 84, 84), torch.rand(2, augment.num_random)).shape
        torch.Size([2, 3, 84, 84])
    """

    num_random = 8

    def __init__(self, *, area: float, stretch: float, jitter: float) -> None:
        if not 0 < area <= 1 or stretch < 1 or not 0 <= jitter <= 1:
            raise ValueError(
                f"augmentation: area={area} and jitter={jitter} are fractions, stretch={stretch} at least 1"
            )
        self.area, self.stretch, self.jitter = area, stretch, jitter

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        area, aspect, x, y, flip, *factors = random.unbind(1)  # (B,) each
        area = between(area, self.area, 1)
        aspect = between(aspect, -math.log(self.stretch), math.log(self.stretch)).exp()
        width, height = (area * aspect).sqrt().clamp_max(1), (area / aspect).sqrt().clamp_max(1)
        mirror = torch.where(flip < 0.5, -1.0, 1.0)
        zero = torch.zeros_like(x)
        # Coordinates run from -1 to 1; the crop can shift by the part that it does not cover.
        rows = [
            torch.stack([width * mirror, zero, between(x, -1, 1) * (1 - width)], 1),
            torch.stack([zero, height, between(y, -1, 1) * (1 - height)], 1),
        ]
        images = warp(images, torch.stack(rows, 1))
        brightness, contrast, saturation = (
            between(factor, 1 - self.jitter, 1 + self.jitter)[:, None, None, None] for factor in factors
        )
        images = (brightness * images).clamp(0, 1)
        images = blend(images, grey(images).mean((2, 3), keepdim=True), contrast)
        return blend(images, grey(images), saturation)


class Affine:
    """Random rotation, shear, scale and shift, each with its own probability, for characters.

    Koch et al. 2015, Siamese Neural Networks for One-shot Image Recognition.

    Args:
        rotation: largest angle in degrees.
        shear: largest shear.
        scale: smallest and largest factor.
        shift: largest shift, as a fraction of the side.
        share: probability of each change.

    Examples:
        >>> augment = Affine(rotation=10, shear=0.3, scale=(0.8, 1.2), shift=0.02, share=0.5)
        >>> augment(torch.rand(2, 1, 28, 28), torch.rand(2, augment.num_random)).shape
        torch.Size([2, 1, 28, 28])
    """

    num_random = 12

    def __init__(
        self, *, rotation: float, shear: float, scale: tuple[float, float], shift: float, share: float
    ) -> None:
        if not 0 < scale[0] <= scale[1] or not 0 <= share <= 1:
            raise ValueError(f"augmentation: scale={scale} must be positive and in order, share={share} a probability")
        self.rotation, self.shear, self.scale, self.shift, self.share = rotation, shear, scale, shift, share

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        return warp(images, self.maps(random, *images.shape[2:]))

    def maps(self, random: Tensor, height: int, width: int) -> Tensor:
        """Computes the maps from new to old coordinates: (B, 12) -> (B, 2, 3)."""
        amount, chance = random.chunk(2, dim=1)  # (B, 6) each
        angle, shear_x, shear_y, scale, x, y = amount.unbind(1)
        turn, slant_x, slant_y, grow, move_x, move_y = (chance < self.share).to(random.dtype).unbind(1)
        angle = turn * between(angle, -self.rotation, self.rotation) * (math.pi / 180)
        shear_x = slant_x * between(shear_x, -self.shear, self.shear)
        shear_y = slant_y * between(shear_y, -self.shear, self.shear)
        # The map goes from new to old coordinates, so a larger image reads from a smaller part.
        zoom = 1 / (1 + grow * (between(scale, *self.scale) - 1))
        cos, sin = zoom * angle.cos(), zoom * angle.sin()
        # Coordinates from -1 to 1 have different units along x and y if the image is not square.
        x_from_y, y_from_x = (cos * shear_x - sin) * (height / width), (sin + cos * shear_y) * (width / height)
        rows = [
            torch.stack([cos - sin * shear_y, x_from_y, move_x * between(x, -1, 1) * 2 * self.shift], 1),
            torch.stack([y_from_x, sin * shear_x + cos, move_y * between(y, -1, 1) * 2 * self.shift], 1),
        ]
        return torch.stack(rows, 1)


def num_of_class(augmentation: Augmentation) -> int:
    """Returns how many random numbers the images of a class share; they come first."""
    return getattr(augmentation, "num_of_class", 0)


def augmentation_faults(augmentation: Augmentation, images: Tensor, *, episodic: bool) -> list[Fault]:
    """Lists the reasons why images (M, C, H, W) cannot be augmented.

    `episodic`: whether all are in episodes, none in batches of all base classes.
    """
    if not hasattr(augmentation, "num_random"):
        kind = type(augmentation).__name__
        return [Fault(f"the augmentation {kind} has no num_random, the number of random numbers of an image")]
    if isinstance(augmentation, CropFlipJitter) and (channels := images.shape[1]) not in (1, 3):
        what = f"augmentation=natural takes images of 1 or 3 channels, not {channels}"
        return [Fault(what, "augmentation=none")]
    if num_of_class(augmentation) and not episodic:
        what = f"{type(augmentation).__name__} makes new classes in each episode, but base classes must stay the same"
        return [Fault(what, "augmentation=characters")]
    return []


def augmented(episode: Episode, augmentation: Augmentation, random: Tensor) -> Episode:
    """Augments the images of an episode by random numbers (T, S + Q, K)."""

    def change(x: Tensor, random: Tensor) -> Tensor:  # (T, B, C, H, W), (T, B, K) -> (T, B, C, H, W)
        if not x.numel():
            return x  # a batch of base classes has no support rows
        images = augmentation(x.flatten(0, 1), random.flatten(0, 1)).unflatten(0, x.shape[:2])
        if images.shape != x.shape:
            given, found = (tuple(each.shape[2:]) for each in (x, images))
            raise ValueError(f"{type(augmentation).__name__} turns images {given} into {found}: it must keep the shape")
        return images

    support = episode.support_x.shape[1]
    return episode._replace(
        support_x=change(episode.support_x, random[:, :support]),
        query_x=change(episode.query_x, random[:, support:]),
    )


def between(random: Tensor, low: float, high: float) -> Tensor:
    """Scales numbers in [0, 1) to [low, high)."""
    return low + (high - low) * random


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Warps images (B, C, H, W) by affine maps (B, 2, 3) from new to old coordinates.

    Coordinates run from -1 to 1.
    """
    return sample(images, F.affine_grid(maps, list(images.shape), align_corners=False))


def sample(images: Tensor, grid: Tensor) -> Tensor:
    """Reads images (B, C, H, W) at coordinates (B, H, W, 2) from -1 to 1; outside, pixels are 0."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def grey(images: Tensor) -> Tensor:
    """Computes brightness by the weights of ITU-R BT.601: (B, C, H, W) -> (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def blend(images: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    """Scales the difference of images from a base, and clips the result to 0 .. 1."""
    return (base + factor * (images - base)).clamp(0, 1)
