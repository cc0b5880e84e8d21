"""Images of any format and pixel type."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image
from tiny_images import encoded, pixels

from metalearn.data.files import image_files
from metalearn.data.files.any_image import as_bytes, brightest, decode, formats
from metalearn.data.files.preparation import Preparation

COLOURS = pixels(0)


def file_of(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "JPEG2000", "QOI"])
def test_every_format_without_loss_gives_the_same(kind: str) -> None:
    found = decode(encoded(COLOURS, kind), 3)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(found, COLOURS)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_photograph_is_what_pillow_reads(kind: str) -> None:
    content = encoded(pixels(1, 40, 30), kind)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(decode(content, 3), image.convert("RGB"))
        np.testing.assert_array_equal(decode(content, 1), image.convert("L"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "LA", "I;16", "turned"])
def test_a_photograph_of_a_data_set_is_what_a_learner_sees(mode: str) -> None:
    deep = (COLOURS[..., 0].astype(np.uint16) << 8) + 9
    image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(COLOURS)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if mode == "turned" else 1
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(COLOURS[..., 2]))
    if mode in ("L", "CMYK", "LA"):
        image = image.convert(mode)
    content = file_of(image, "PNG" if mode in ("RGBA", "LA", "I;16") else "JPEG", exif=exif)
    read = image_files.decode(content, "photograph")
    np.testing.assert_array_equal(read, Preparation((3, 12, 12)).of_file(content))
    if mode in ("RGB", "L", "CMYK"):  # as all programs read it
        with Image.open(io.BytesIO(content)) as opened:
            np.testing.assert_array_equal(read, opened.convert("RGB"))


def test_a_film_is_its_first_image() -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (7, 200)]
    content = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.unique(decode(content, 3)).tolist() == [7]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_transparent_grey_is_white(dtype: type) -> None:
    grey = np.full((4, 4), 100 if dtype == np.uint8 else 100 << 8, dtype)
    grey[0] = 7
    content = file_of(Image.fromarray(grey), transparency=7)
    np.testing.assert_array_equal(np.unique(decode(content, 1)), [100, 255])


def test_a_deep_pgm_is_what_a_deep_png_is() -> None:
    deep = (np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)
    content = b"P5 8 8 65535\n" + deep.astype(">u2").tobytes()
    png = file_of(Image.fromarray(deep))
    np.testing.assert_array_equal(decode(content, 1), decode(png, 1))
    assert (brightest(content), brightest(png)) == ((63000 >> 8, 8), (63000, 16))  # a PGM states its white


def test_the_white_of_a_pgm_is_what_it_states() -> None:
    values = np.array([[0, 1000, 4095]], ">u2")
    np.testing.assert_array_equal(decode(b"P5 3 1 4095\n" + values.tobytes(), 1), [[0, 62, 255]])


def test_lab_colours_become_grey() -> None:
    content = file_of(Image.fromarray(COLOURS).convert("LAB"), "TIFF")
    np.testing.assert_array_equal(decode(content, 1), Image.fromarray(np.array(decode(content, 3))).convert("L"))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="an image of 0 x 3 pixels"):
        as_bytes(Image.new("L", (0, 3)), 1)


def test_kinds_of_pixels() -> None:
    grey = COLOURS[:, :, 0]
    bits = Image.fromarray(grey > 127)
    np.testing.assert_array_equal(decode(file_of(bits), 1), np.where(grey > 127, 255, 0))
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(grey)), 3), np.stack([grey] * 3, 2))
    palette = Image.fromarray(COLOURS).quantize(16)
    np.testing.assert_array_equal(decode(file_of(palette), 3), palette.convert("RGB"))
    fine = np.arange(0, 65536, 455, dtype=np.uint16)[:144].reshape(12, 12)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(file_of(Image.fromarray(fine), kind), 1), fine >> 8)
        np.testing.assert_array_equal(np.asarray(decode(file_of(Image.fromarray(fine), kind), 3))[..., 2], fine >> 8)


def test_what_is_transparent_becomes_white() -> None:
    alpha = np.where(np.arange(12)[:, None] < 6, 255, 0) * np.ones((1, 12))
    picture = np.dstack([COLOURS, alpha.astype(np.uint8)])
    expected = np.where(alpha[..., None] == 255, COLOURS, 255)
    np.testing.assert_array_equal(decode(file_of(Image.fromarray(picture)), 3), expected)
    ink = Image.fromarray(picture[..., [0, 3]].copy())  # grey with transparency
    np.testing.assert_array_equal(decode(file_of(ink), 1), np.where(alpha == 255, COLOURS[..., 0], 255))
    first = Image.new("P", (4, 4))
    first.putpalette([0, 0, 0, 255, 0, 0])
    assert np.unique(decode(file_of(first, transparency=0), 3)).tolist() == [255]


def test_a_photograph_is_turned_as_its_camera_noted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation tag: rotate clockwise
    image = Image.fromarray(pixels(2, 8, 14))
    found = decode(file_of(image, exif=exif), 3)
    np.testing.assert_array_equal(found, np.rot90(image, -1))


def test_what_is_no_image_is_refused() -> None:
    whole = encoded(COLOURS, "PNG")
    floats = file_of(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF")
    bad = [
        b"",
        b"this is text, and quite a long one at that " * 50,
        b"{}",
        whole[:-40],
        whole.replace(b"IDAT", b"IDAX"),
    ]
    bad += [encoded(COLOURS)[:-100], encoded(pixels(0, 40, 40), "GIF")[:300], floats]
    rng = np.random.default_rng(0)
    bad += [rng.bytes(300) for _ in range(20)]
    for content in bad:
        with pytest.raises(ValueError, match=".") as caught:
            decode(content, 3)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="^pixels of the mode F, whose white is not known$"):
        decode(floats, 3)


def test_no_program_is_run_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    content = file_of(Image.fromarray(COLOURS), "EPS")
    monkeypatch.setattr("subprocess.check_call", None)  # would run Ghostscript
    with pytest.raises(ValueError, match="^not an image of a known format$"):
        decode(content, 3)
    assert "EPS" not in formats() and {"PNG", "JPEG", "GIF", "TIFF", "WEBP"} <= set(formats())
