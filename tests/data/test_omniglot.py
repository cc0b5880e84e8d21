"""Omniglot: the published splits, the processing of its drawings, its banks and their cache."""

import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from omniglot_files import HALVES, LAKE, class_images, drawings, load, png, strokes, write_folders, write_zips
from PIL import Image

from metalearn.data import omniglot
from metalearn.data.omniglot import process
from metalearn.data.splits import known_splits, read_split


@pytest.fixture(scope="session")
def zips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zips(tmp_path_factory.mktemp("zips"), drawings())


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def _each_pattern_is_decoded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot, "process", functools.cache(process))
        yield


def test_published_splits() -> None:
    assert known_splits("omniglot") == ["lake", "lake_small1", "lake_small2", "vinyals"]
    sizes = {"vinyals": (1028, 172, 423), "lake": (792, 172, 659)}
    everything = sorted(sum(HALVES.values(), ()))
    assert len(everything) == 1623
    for name, expected in sizes.items():
        parts = list(read_split("omniglot", name).values())
        assert tuple(map(len, parts)) == expected
        assert sorted(sum(parts, ())) == everything  # disjoint and complete
        assert all(list(part) == sorted(part) for part in parts)
    alphabets = {split: {name.split("/")[0] for name in LAKE[split]} for split in LAKE}
    assert list(map(len, alphabets.values())) == [25, 5, 20]
    assert not alphabets["train"] & alphabets["val"]
    vinyals = read_split("omniglot", "vinyals")
    assert vinyals["val"] == LAKE["val"] and set(vinyals["test"]) < set(LAKE["test"])


def test_golden_processing() -> None:
    image = process(png(strokes()), 28, 28)
    assert image.shape == (28, 28) and image.dtype == np.uint8
    assert image.max() > 200 and image[[0, 0, -1, -1], [0, -1, 0, -1]].mean() == 0  # ink is bright
    assert (
        hashlib.sha256(image.tobytes()).hexdigest()
        == "552e5056b92164e199be143ad46c8ffbea86b62dc54e58a6708eab785cd210e9"
    )


def test_processing_is_lanczos_of_the_ink() -> None:
    # Pillow filters first the rows and then the columns, and rounds to bytes in between.
    scale = 105 / 28
    distance = (np.arange(105) + 0.5)[None] / scale - (np.arange(28) + 0.5)[:, None]  # (28, 105)
    weights = np.where(abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weights /= weights.sum(1, keepdims=True)
    rows = np.clip(255 * ~strokes() @ weights.T, 0, 255).round()  # (105, 28)
    expected = np.clip(weights @ rows, 0, 255)  # (28, 28)
    np.testing.assert_allclose(process(png(strokes()), 28, 28), expected, atol=1)


@pytest.mark.parametrize("split", ["vinyals", "lake"])
@pytest.mark.parametrize("rotations", [False, True])
def test_banks(zips: Path, cache: Path, split: str, rotations: bool) -> None:
    banks = load(zips, cache, split, rotations)
    characters = read_split("omniglot", split)
    for part, bank in banks.items():
        assert bank.num_classes == len(characters[part]) * (4 if rotations else 1)
        assert {name.rsplit("/rot", 1)[0] for name in bank.names} == set(characters[part])
        assert bank.images.shape == (bank.num_classes * 20, 1, 14, 14) and bank.smallest_class == 20
    assert len({bank.images.untyped_storage().data_ptr() for bank in banks.values()}) == 3
    # One character is checked by hand, from its files to its rows.
    character = characters["test"][-1]
    files = sorted(name for name in drawings() if f"/{character}/" in name)
    expected = np.stack([process(drawings()[name], 14, 14) for name in files])[:, None]
    name = character + ("/rot000" if rotations else "")
    np.testing.assert_array_equal(class_images(banks["test"], name), expected)


def test_rotations_are_classes_of_their_own(zips: Path, cache: Path) -> None:
    bank = load(zips, cache, rotations=True)["train"]
    upright = class_images(bank, "Greek/character05/rot000")
    for degrees in (90, 180, 270):
        turned = class_images(bank, f"Greek/character05/rot{degrees:03d}")
        np.testing.assert_array_equal(turned, np.rot90(upright, degrees // 90, axes=(-2, -1)))
        np.testing.assert_array_equal(turned[0, 0], Image.fromarray(upright[0, 0]).rotate(degrees))
    episode = np.random.default_rng(0).choice(bank.num_classes, 20, replace=False)
    assert len({bank.names[i].rsplit("/", 1)[1] for i in episode}) == 4


def test_folder_and_zip_are_alike_and_a_damaged_cache_is_made_again(zips: Path, cache: Path, tmp_path: Path) -> None:
    from_zip = load(zips, cache)
    (whole,) = cache.iterdir()
    assert whole.name.startswith("omniglot-14x14-") and whole.suffix == ".npz"
    damaged = bytearray(whole.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    mended = tmp_path / "cache" / whole.name
    mended.parent.mkdir()
    mended.write_bytes(damaged)
    root = write_folders(tmp_path / "folders", drawings())
    (root / "images_background" / "Greek" / "character05" / "._0001_01.png").write_bytes(b"from a Mac")
    from_folder = load(root, mended.parent)  # equal key, so it reads the damaged file
    assert list(mended.parent.iterdir()) == [mended] and mended.read_bytes() == whole.read_bytes()
    for part, bank in from_zip.items():
        assert bank.names == from_folder[part].names and bank.sha256() == from_folder[part].sha256()


def test_a_stale_cache_is_not_read(zips: Path, cache: Path, tmp_path: Path) -> None:
    before = load(zips, cache)["test"]
    name = next(name for name in drawings() if f"/{before.names[0]}/" in name)
    (of_before,) = cache.iterdir()
    shared = tmp_path / "cache"
    shared.mkdir()
    shutil.copy(of_before, shared)
    after = load(write_zips(tmp_path / "zips", drawings() | {name: png(strokes().T)}), shared)["test"]
    assert len(list(shared.iterdir())) == 2  # the new cache beside the old one
    changed = (before.images != after.images).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == [0]


REAL = Path(os.environ.get("METALEARN_DATA", "")) / "omniglot"


@pytest.mark.skipif(
    not os.environ.get("METALEARN_DATA") or not REAL.is_dir(),
    reason="set METALEARN_DATA to a folder that has omniglot/",
)
def test_golden_real_character(tmp_path: Path) -> None:
    images = class_images(load(REAL, tmp_path, size=28)["train"], "Greek/character05")
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "270f416c7ee207409985b90b8ad51834a72eafdd79a7893aeb7079912aad3dd6"
