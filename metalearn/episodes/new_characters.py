"""Augmentation that turns the characters of an episode into new ones.

All drawings of a class share one smooth distortion, and sometimes a reflection, which make them
drawings of another character. Each drawing then has its own distortion, as by another hand. Renkun
Ni, Micah Goldblum, Amr Sharaf, Kezhi Kong, Tom Goldstein, Data Augmentation for Meta-Learning, ICML
2021, arXiv 2010.07092, call a change of whole classes task augmentation. Distortions whose shifts
vary smoothly over the image are those of Patrice Simard, Dave Steinkraus, John Platt, Best
Practices for Convolutional Neural Networks Applied to Visual Document Analysis, ICDAR 2003.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.episodes.augmentation import Affine, between, sample


class Distortion:
    """Random affine map plus shifts that vary over the image.

    Args:
        affine: the affine map.
        shift: largest shift along each axis, as a fraction of the side.
        points: number of points along each axis. Their shifts are drawn, and interpolated between.

    Examples:
        >>> affine = Affine(rotation=10, shear=0.3, scale=(0.8, 1.2), shift=0.02, share=0.5)
        >>> distort = Distortion(affine, shift=0.05, points=4)
        >>> distort(torch.zeros(2, 28, 28, 2), torch.rand(2, distort.num_random)).shape
        torch.Size([2, 28, 28, 2])
    """

    def __init__(self, affine: Affine, *, shift: float, points: int) -> None:
        if shift < 0 or points < 1:
            raise ValueError(f"augmentation: shift={shift} must not be negative, and points={points} at least 1")
        self.affine, self.shift, self.points = affine, shift, points
        self.num_random = affine.num_random + 2 * points**2

    def __call__(self, grid: Tensor, random: Tensor) -> Tensor:
        """Maps coordinates from new to old images: (B, H, W, 2), (B, K) -> (B, H, W, 2)."""
        affine, elastic = random.tensor_split([self.affine.num_random], 1)
        shifts = between(elastic, -2 * self.shift, 2 * self.shift).view(-1, 2, self.points, self.points)
        shifts = F.grid_sample(shifts, grid, mode="bilinear", padding_mode="border", align_corners=False)
        maps = self.affine.maps(affine, *grid.shape[1:3])  # (B, 2, 3)
        moved = torch.baddbmm(maps[:, None, :, 2], grid.flatten(1, 2), maps[:, :, :2].mT)  # (B, H W, 2)
        return moved.view_as(grid) + shifts.permute(0, 2, 3, 1)


class NewCharacters:
    """Distorts each class of an episode into a new character, and each image into a new drawing.

    Args:
        mirror: probability that the images of a class are mirrored.
        of_class: distortion that the images of a class share.
        of_image: distortion of each image.

    Examples:
        >>> affine = Affine(rotation=10, shear=0.3, scale=(0.8, 1.2), shift=0.02, share=0.5)
        >>> distort = Distortion(affine, shift=0.05, points=4)
        >>> augment = NewCharacters(mirror=0.5, of_class=distort, of_image=distort)
        >>> augment(torch.rand(2, 1, 28, 28), torch.rand(2, augment.num_random)).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(self, *, mirror: float, of_class: Distortion, of_image: Distortion) -> None:
        if not 0 <= mirror <= 1:
            raise ValueError(f"augmentation: mirror={mirror} must be a probability, from 0 to 1")
        self.mirror, self.of_class, self.of_image = mirror, of_class, of_image
        self.num_of_class = 1 + of_class.num_random
        self.num_random = self.num_of_class + of_image.num_random

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        mirror, of_class, of_image = random.tensor_split([1, self.num_of_class], 1)
        still = torch.eye(2, 3, device=images.device, dtype=images.dtype).expand(len(images), 2, 3)
        grid = F.affine_grid(still, list(images.shape), align_corners=False)  # (B, H, W, 2)
        # One grid, because reading an image twice would blur it twice.
        x, y = self.of_class(self.of_image(grid, of_image), of_class).unbind(3)
        x = torch.where(mirror[..., None] < self.mirror, -x, x)
        return sample(images, torch.stack([x, y], 3))
