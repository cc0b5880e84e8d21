"""CUB in its real layout, with 7 classes of 2 to 5 small photographs."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from tiny_images import SHAPE, encoded, pixels, refusal

from metalearn.data import cub
from metalearn.data.cub import CUB
from metalearn.data.files import image_files
from metalearn.data.splits import known_splits, read_split
from metalearn.types import Split

CLASSES: dict[Split, tuple[str, ...]] = {
    "train": ("001.Albatross", "003.Auklet", "005.Cuckoo"),
    "val": ("002.Ani", "006.Crow"),
    "test": ("004.Gull", "007.Wren"),
}
NAMES = sorted(name for names in CLASSES.values() for name in names)
SIZES = dict(zip(NAMES, (3, 2, 5, 4, 2, 3, 4), strict=True))


@pytest.fixture(autouse=True)
def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cub, "read_split", lambda dataset, split: CLASSES)


def source(root: Path, cache: Path) -> CUB:
    return CUB(str(root), cache=str(cache), input_shape=[*SHAPE])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Writes the unpacked archive, with photographs of many sizes."""
    folder = tmp_path / "CUB_200_2011"
    lines, seed = [], 0
    for name, size in SIZES.items():
        (folder / "images" / name).mkdir(parents=True)
        for i in range(size):
            seed += 1
            image = f"{name}/{name[4:]}_{i:04d}_{seed}.jpg"
            (folder / "images" / image).write_bytes(encoded(pixels(seed, 12 + seed, 20)))
            lines.append(f"{seed} {image}\n")
    (folder / "images.txt").write_text("".join(lines))
    (folder / "images" / NAMES[0] / "._Albatross.jpg").write_bytes(b"from a Mac")
    return tmp_path


def test_published_split() -> None:
    assert known_splits("cub") == ["chen"]
    parts = list(read_split("cub", "chen").values())
    assert list(map(len, parts)) == [100, 50, 50]
    # Chen et al. take every second class for training; the rest alternates between validation and
    # test.
    everything = sorted(sum(parts, ()))
    assert [name[:4] for name in everything] == [f"{i:03d}." for i in range(1, 201)]
    assert [list(part) for part in parts] == [everything[0::2], everything[1::4], everything[3::4]]


def test_a_cache_of_another_decoding_is_built_again(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds it as a version did that ignored how a camera was turned."""
    (photograph,) = (root / "CUB_200_2011/images/007.Wren").glob("*_0000_*.jpg")
    image, exif = Image.fromarray(pixels(0)), Image.Exif()
    exif[ExifTags.Base.Orientation] = 3  # upside down
    image.save(photograph, "JPEG", exif=exif)

    def unturned(content: bytes, where: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    with monkeypatch.context() as earlier:
        earlier.setattr(image_files, "decode", unturned)
        earlier.setattr(image_files, "PROCESSING", 1, raising=False)
        before = source(root, cache).load()["test"]
    after = source(root, cache).load()["test"]
    row = after.rows[after.names.index("007.Wren")][0]
    assert torch.equal(after.images[row], before.images[row].flip(1, 2))


def test_banks(root: Path, cache: Path) -> None:
    banks = source(root, cache).load()
    for split, names in CLASSES.items():
        bank = banks[split]
        assert bank.names == names and [len(rows) for rows in bank.rows] == [SIZES[name] for name in names]
        for name, rows in zip(names, bank.rows, strict=True):
            for path, row in zip(sorted((root / "CUB_200_2011/images" / name).glob("[!.]*")), rows, strict=True):
                with Image.open(path) as image:
                    expected = np.asarray(image.resize((12, 12), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
                np.testing.assert_array_equal(bank.images[row], expected)
    assert source(root / "CUB_200_2011", cache).load()["test"].sha256() == banks["test"].sha256()
    assert len(list(cache.glob("cub-12x12-*.npy"))) == 1


def test_missing_data_says_what_to_put_where(tmp_path: Path, cache: Path) -> None:
    message = refusal(source(tmp_path, cache))
    assert f"{tmp_path} has no images/; unpack CUB_200_2011.tgz there" in message
    (tmp_path / "images").mkdir()
    assert f"{tmp_path}/images.txt is missing beside images/; unpack" in refusal(source(tmp_path, cache))
    with pytest.raises(ValueError, match="^cub: images have 3 channels, but input_shape asks for 1$"):
        CUB("", cache="", input_shape=[1, 84, 84])


def test_an_incomplete_copy_is_told(root: Path, cache: Path) -> None:
    images, listing = root / "CUB_200_2011/images", root / "CUB_200_2011/images.txt"
    (images / "006.Crow").rename(root / "elsewhere")
    message = refusal(source(root, cache))
    assert f"{images} has 6 of 7 classes as folders" in message and message.endswith("missing 006.Crow")
    (root / "elsewhere").rename(images / "006.Crow")
    image = next((images / "004.Gull").iterdir())
    whole = image.read_bytes()
    image.unlink()
    assert refusal(source(root, cache)).endswith(f"1 files that {listing} names are absent: 004.Gull/{image.name}")
    image.write_bytes(whole)
    (images / "004.Gull/Gull_9.jpg").write_bytes(whole)
    assert refusal(source(root, cache)).endswith(f"1 files are not in {listing}: 004.Gull/Gull_9.jpg")
    (images / "004.Gull/Gull_9.jpg").unlink()
    text = listing.read_text()
    for bad in ("1 a b\n", "1\n", "\n"):
        listing.write_text(text + bad)
        assert f"{listing} is not a list with a number and a file name in each line (" in refusal(source(root, cache))
    listing.write_bytes(b"\xff\xfe\x00")
    assert f"{listing} is not a list" in refusal(source(root, cache))
    listing.write_text("".join(line for line in text.splitlines(True) if "006.Crow" not in line))
    for image in (images / "006.Crow").iterdir():
        image.rename(root / image.name)
    assert refusal(source(root, cache)).endswith(f"{listing} has no image of the class 006.Crow")
    for image in root.glob("Crow*"):
        image.rename(images / "006.Crow" / image.name)
    listing.write_text(text)
    source(root, cache).load()


@pytest.mark.parametrize("content", [b"", b"this is text", encoded(pixels(0))[:-100]], ids=["empty", "text", "cut"])
def test_damaged_photographs_are_named(root: Path, cache: Path, content: bytes) -> None:
    path = next((root / "CUB_200_2011/images/002.Ani").iterdir())
    whole = path.read_bytes()
    path.write_bytes(content)
    assert f"{path} is damaged, or no JPEG or PNG image (" in refusal(source(root, cache))
    path.write_bytes(whole)
    source(root, cache).load()
