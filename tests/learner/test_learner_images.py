"""Images of a learner: equal in any form, and equal to those of the data set of the run."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from own_images import KINDS, source, write
from PIL import Image

from metalearn.data.files.preparation import Preparation
from metalearn.learner.images import picture, prepared
from metalearn.learner.inputs import chunks

PAPER = Preparation((1, 12, 16), invert=True)
COLOUR = Preparation((3, 12, 16))
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"]
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def of_file(image: Image.Image, preparation: Preparation, kind: str = "PNG", **options) -> torch.Tensor:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return torch.from_numpy(preparation.of_file(file.getvalue()).transpose(2, 0, 1).copy())


@pytest.mark.parametrize("preparation", [PAPER, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("mode", MODES)
def test_an_opened_image_is_its_file(mode: str, preparation: Preparation) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    ours = prepared(image, preparation)
    assert ours.shape == preparation.input_shape and ours.dtype == torch.uint8
    assert torch.equal(ours, of_file(image, preparation, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"))


@pytest.mark.parametrize(
    ("pixels", "like"),
    [
        (PIXELS, PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1), PIXELS),
        (PIXELS.transpose(2, 0, 1), PIXELS),
        (PIXELS / 255, PIXELS),
        (PIXELS.astype(np.int64), PIXELS),
        (torch.from_numpy(PIXELS[..., 0]).float()[None] / 255, PIXELS[..., 0]),
        (PIXELS[..., :1], PIXELS[..., 0]),
        (PIXELS[..., 0] > 127, (PIXELS[..., 0] > 127) * np.uint8(255)),
        (torch.zeros(3, 5, 3), np.zeros((5, 3, 3), np.uint8)),
        ((PIXELS / 255).astype(">f4"), PIXELS),
        (torch.tensor([[[0.0, 0.25], [0.5, 1.0]]], dtype=torch.bfloat16), np.array([[0, 64], [128, 255]], np.uint8)),
    ],
    ids=[
        *("array", "tensor", "channels first", "fractions", "integers", "grey", "one channel", "bits", "ambiguous"),
        *("other byte order", "bfloat16"),
    ],
)
def test_pixels_are_the_image_that_they_make(pixels, like: np.ndarray) -> None:
    assert np.array_equal(np.asarray(picture(pixels)), like)


@pytest.mark.parametrize("pixels", [torch.rand(3, 20, 30), np.zeros((3, 12, 16)), torch.rand(4, 12, 16)])
def test_an_image_without_brackets_is_no_list_of_grey_ones(pixels) -> None:
    with pytest.raises(ValueError, match="grey ones: put one into brackets, or several into a list$"):
        list(chunks(pixels, COLOUR))
    (single,), (several,) = chunks([pixels], COLOUR), chunks(list(pixels), COLOUR)
    (grey,) = chunks(pixels, PAPER)
    assert (len(single), len(several), len(grey)) == (1, len(pixels), len(pixels))


@pytest.mark.parametrize("image", [torch.zeros(1, 20, 30), PIXELS, Image.fromarray(PIXELS)])
def test_an_image_beside_its_label_is_no_image(image) -> None:
    with pytest.raises(ValueError, match="^image 0: a tuple is not an image: give its pixels alone, without a label$"):
        list(chunks([(image, 3)], COLOUR))


@pytest.mark.parametrize("given", [b"GIF89a", None, 3])
def test_what_has_no_pixels_is_named(given) -> None:
    with pytest.raises(ValueError, match=f"^image 0: a {type(given).__name__} is not an image: give a path, "):
        list(chunks([given], COLOUR))


def test_a_set_of_images_is_refused_since_labels_have_an_order() -> None:
    with pytest.raises(ValueError, match="^images are a set, which has no order; give a list$"):
        list(chunks({"a.png", "b.png"}, COLOUR))


def test_sixteen_bits_are_read_as_the_data_set_uses_them() -> None:
    deep = (PIXELS[..., 0].astype(np.uint16) << 4) + 9
    image = Image.fromarray(deep)
    preparation = Preparation((1, 20, 30), bits=12)
    assert np.array_equal(prepared(deep, preparation)[0], PIXELS[..., 0])
    assert torch.equal(prepared(image, preparation), of_file(image, preparation))


@pytest.mark.parametrize("brightest", [200, 40_000])
@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_sixteen_bits_are_those_of_a_file_however_dark(kind: str, brightest: int) -> None:
    deep = (PIXELS[..., 0].astype(np.uint16) * (brightest / 255)).astype(kind)
    preparation = Preparation((1, 20, 30))
    expected = of_file(Image.fromarray(deep.astype(np.uint16)), preparation)
    for pixels in (deep, deep[None], torch.from_numpy(deep.astype(np.uint16))):
        assert torch.equal(prepared(pixels, preparation), expected)


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_sixteen_bits_of_colour_are_refused_however_dark(kind: str) -> None:
    with pytest.raises(ValueError, match=r"uint16 in colour, but 16 bits must be grey: give bytes \(uint8\)"):
        picture(PIXELS.astype(kind))


def test_a_turned_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", exif=exif)
    turned = prepared(np.rot90(PIXELS, -1), COLOUR)
    assert np.array_equal(COLOUR.of_file(file.getvalue()).transpose(2, 0, 1), turned)


@pytest.mark.parametrize("invert", [False, True])
def test_a_learner_sees_a_file_as_the_run_did(tmp_path: Path, invert: bool) -> None:
    folder = source(write(tmp_path / "images"), invert=invert)
    banks, seen = folder.load(), 0
    for bank in banks.values():
        for name, rows in zip(bank.names, bank.rows, strict=True):
            files = sorted((tmp_path / "images" / name).iterdir(), key=lambda path: path.name)
            for row, path in zip(rows, files, strict=True):
                assert torch.equal(prepared(path, folder.preparation), bank.images[row])
                seen += 1
    assert seen > len(KINDS)
