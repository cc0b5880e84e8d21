"""Omniglot in its real layout of 1,623 x 20 files, but with a few patterns in the place of the drawings."""

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metalearn.data.bank import ClassBank
from metalearn.data.omniglot import Omniglot, process
from metalearn.data.splits import known_splits, read_split
from metalearn.types import Split

LAKE = read_split("omniglot", "lake")
HALVES = {"images_background": LAKE["train"] + LAKE["val"], "images_evaluation": LAKE["test"]}
Drawings = dict[str, bytes]  # PNG by "images_background/Alphabet/characterNN/0001_01.png"


def png(pixels: np.ndarray) -> bytes:
    """A PNG of 1 bit, as the data set's own, from paper True and ink False (H, W)."""
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG")
    return file.getvalue()


def strokes() -> np.ndarray:
    """A character like a lopsided Z with a dot, (105, 105) bool, the same on every machine."""
    paper = np.ones((105, 105), bool)
    paper[20:23, 15:80] = False
    for i in range(60):
        paper[23 + i, 78 - i : 81 - i] = False
    paper[83:86, 18:60] = False
    paper[60:64, 85:89] = False
    return paper


PATTERNS = [png(np.roll(strokes(), (shift, 2 * shift), axis=(0, 1))) for shift in range(11)]


@pytest.fixture(scope="session")
def drawings() -> Drawings:
    characters = [f"{half}/{character}" for half, characters in HALVES.items() for character in characters]
    return {
        f"{character}/{i:04d}_{k:02d}.png": PATTERNS[(i * (k % 3 + 1) + k) % len(PATTERNS)]
        for i, character in enumerate(characters)
        for k in range(1, 21)
    }


def write_zips(root: Path, drawings: Drawings) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for half in HALVES:
        with zipfile.ZipFile(root / f"{half}.zip", "w") as archive:
            for name, content in drawings.items():
                if name.startswith(half):
                    archive.writestr(name, content)
    return root


def write_folders(root: Path, drawings: Drawings) -> Path:
    (root / "patterns").mkdir(parents=True)
    for folder in {name.rsplit("/", 1)[0] for name in drawings}:
        (root / folder).mkdir(parents=True)
    for name, content in drawings.items():
        pattern = root / "patterns" / hashlib.md5(content).hexdigest()
        if not pattern.exists():
            pattern.write_bytes(content)
        os.link(pattern, root / name)  # 32,460 links are made in the time of few files
    return root


@pytest.fixture(scope="session")
def zips(drawings: Drawings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zips(tmp_path_factory.mktemp("zips"), drawings)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def load(
    root: Path, cache: Path, split: str = "vinyals", rotations: bool = False, size: int = 14
) -> dict[Split, ClassBank]:
    source = Omniglot(
        str(root),
        cache=str(cache),
        split=split,
        rotations=rotations,
        input_shape=[1, size, size],
        url="http://127.0.0.1:9",  # where nothing answers
    )
    return source.load()


def refusal(root: Path, cache: Path) -> str:
    """The one line that tells a user what is wrong."""
    with pytest.raises((OSError, ValueError), match="^omniglot: ") as caught:
        load(root, cache)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def class_images(bank: ClassBank, name: str) -> np.ndarray:
    return bank.images[bank.rows[bank.names.index(name)]].numpy()  # (20, 1, H, W)


def test_published_splits() -> None:
    assert known_splits("omniglot") == ["lake", "lake_small1", "lake_small2", "vinyals"]
    sizes = {"vinyals": (1028, 172, 423), "lake": (792, 172, 659)}
    everything = sorted(sum(HALVES.values(), ()))
    assert len(everything) == 1623
    for name, expected in sizes.items():
        parts = list(read_split("omniglot", name).values())
        assert tuple(map(len, parts)) == expected
        assert sorted(sum(parts, ())) == everything  # disjoint, and nothing left over
        assert all(list(part) == sorted(part) for part in parts)
    alphabets = {split: {name.split("/")[0] for name in LAKE[split]} for split in LAKE}
    assert list(map(len, alphabets.values())) == [25, 5, 20]
    assert not alphabets["train"] & alphabets["val"]
    vinyals = read_split("omniglot", "vinyals")
    assert vinyals["val"] == LAKE["val"] and set(vinyals["test"]) < set(LAKE["test"])


def test_settings_that_are_refused(zips: Path, cache: Path) -> None:
    with pytest.raises(
        ValueError, match="^omniglot: unknown split 'ravi'; there are lake, lake_small1, lake_small2, vinyals$"
    ):
        load(zips, cache, split="ravi")
    for shape, rotations, message in (([3, 28, 28], False, "1 channel"), ([1, 28, 20], True, "square")):
        with pytest.raises(ValueError, match=f"^omniglot: .*{message}"):
            Omniglot("", cache="", split="lake", rotations=rotations, input_shape=shape, url="")


def test_golden_processing() -> None:
    image = process(png(strokes()), 28, 28)
    assert image.shape == (28, 28) and image.dtype == np.uint8
    assert image.max() > 200 and image[[0, 0, -1, -1], [0, -1, 0, -1]].mean() == 0  # ink is bright
    assert (
        hashlib.sha256(image.tobytes()).hexdigest()
        == "552e5056b92164e199be143ad46c8ffbea86b62dc54e58a6708eab785cd210e9"
    )


def test_processing_is_lanczos_of_the_ink() -> None:
    # Pillow filters first the rows and then the columns, rounding to bytes in between.
    scale = 105 / 28
    distance = (np.arange(105) + 0.5)[None] / scale - (np.arange(28) + 0.5)[:, None]  # (28, 105)
    weights = np.where(abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weights /= weights.sum(1, keepdims=True)
    rows = np.clip(255 * ~strokes() @ weights.T, 0, 255).round()  # (105, 28)
    expected = np.clip(weights @ rows, 0, 255)  # (28, 28)
    np.testing.assert_allclose(process(png(strokes()), 28, 28), expected, atol=1)


@pytest.mark.parametrize("split", ["vinyals", "lake"])
@pytest.mark.parametrize("rotations", [False, True])
def test_banks(zips: Path, cache: Path, drawings: Drawings, split: str, rotations: bool) -> None:
    banks = load(zips, cache, split, rotations)
    characters = read_split("omniglot", split)
    for part, bank in banks.items():
        assert bank.num_classes == len(characters[part]) * (4 if rotations else 1)
        assert {name.rsplit("/rot", 1)[0] for name in bank.names} == set(characters[part])
        assert bank.images.shape == (bank.num_classes * 20, 1, 14, 14) and bank.smallest_class == 20
    assert len({bank.images.untyped_storage().data_ptr() for bank in banks.values()}) == 3
    # One character followed by hand, from its files to its rows.
    character = characters["test"][-1]
    files = sorted(name for name in drawings if f"/{character}/" in name)
    expected = np.stack([process(drawings[name], 14, 14) for name in files])[:, None]
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


def test_folder_and_zip_are_alike_and_a_damaged_cache_is_made_again(
    zips: Path, cache: Path, drawings: Drawings, tmp_path: Path
) -> None:
    from_zip = load(zips, cache)
    (whole,) = cache.iterdir()
    assert whole.name.startswith("omniglot-14x14-") and whole.suffix == ".npz"
    damaged = bytearray(whole.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    mended = tmp_path / "cache" / whole.name
    mended.parent.mkdir()
    mended.write_bytes(damaged)
    root = write_folders(tmp_path / "folders", drawings)
    (root / "images_background" / "Greek" / "character05" / "._0001_01.png").write_bytes(b"from a Mac")
    from_folder = load(root, mended.parent)  # of the same key, so it meets the damaged file
    assert list(mended.parent.iterdir()) == [mended] and mended.read_bytes() == whole.read_bytes()
    for part, bank in from_zip.items():
        assert bank.names == from_folder[part].names and bank.sha256() == from_folder[part].sha256()


def test_a_stale_cache_is_not_read(zips: Path, cache: Path, drawings: Drawings, tmp_path: Path) -> None:
    before = load(zips, cache)["test"]
    name = next(name for name in drawings if f"/{before.names[0]}/" in name)
    (of_before,) = cache.iterdir()
    shared = tmp_path / "cache"
    shared.mkdir()
    shutil.copy(of_before, shared)
    after = load(write_zips(tmp_path / "zips", drawings | {name: png(strokes().T)}), shared)["test"]
    assert len(list(shared.iterdir())) == 2  # the new one beside the old
    changed = (before.images != after.images).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == [0]


def test_missing_data_says_what_to_put_where(tmp_path: Path) -> None:
    message = refusal(tmp_path, tmp_path)
    assert "images_background is missing; put images_background.zip or images_background into" in message
    assert str(tmp_path) in message and "refused" in message
    assert list(tmp_path.iterdir()) == []


def test_missing_characters_and_drawings_are_named(drawings: Drawings, tmp_path: Path) -> None:
    def without(folder: str, beginning: str) -> str:
        rest = {name: content for name, content in drawings.items() if not name.startswith(beginning)}
        return refusal(write_zips(tmp_path / folder, rest), tmp_path)

    message = without("character", "images_background/Greek/character05/")
    assert "images_background.zip has 963 of 964 characters" in message
    assert message.endswith("missing Greek/character05")
    message = without("alphabet", "images_evaluation/Tengwar/")
    assert "images_evaluation.zip has 634 of 659 characters" in message
    assert message.endswith("missing Tengwar/character01, Tengwar/character02, Tengwar/character03 ...")
    first = next(name for name in drawings if "/Greek/character05/" in name)
    assert without("drawing", first).endswith("Greek/character05 has 19 of 20 drawings")
    extra = drawings | {"images_background/Klingon/character01/0001_01.png": PATTERNS[0]}
    message = refusal(write_zips(tmp_path / "extra", extra), tmp_path)
    assert "has Klingon/character01, which is no character" in message


def test_damaged_zips_are_named(zips: Path, tmp_path: Path) -> None:
    for half in HALVES:
        (tmp_path / f"{half}.zip").write_bytes((zips / f"{half}.zip").read_bytes())
    path = tmp_path / "images_background.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:100_000])
    assert f"cannot read {path} (File is not a zip file); replace it" in refusal(tmp_path, tmp_path)
    path.write_bytes(whole.replace(b"IDAT", b"IDAX", 1))
    assert "Bad CRC-32 for file 'images_background/" in refusal(tmp_path, tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images_background/../../evil.png", PATTERNS[0])
    assert "would be written outside its folder" in refusal(tmp_path, tmp_path)
    assert not list(tmp_path.parent.glob("evil*")) and not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no image", id="text"),
        pytest.param(PATTERNS[0][:60], id="truncated"),
        pytest.param(png(np.ones((28, 28), bool)), id="small"),
    ],
)
def test_damaged_drawings_are_named(drawings: Drawings, tmp_path: Path, content: bytes) -> None:
    name = next(iter(drawings))
    message = refusal(write_zips(tmp_path, drawings | {name: content}), tmp_path / "cache")
    assert name.split("/", 1)[1] in message and message.endswith("is damaged: no PNG image of 105 x 105 pixels")


REAL = Path(os.environ.get("METALEARN_DATA", "")) / "omniglot"


@pytest.mark.skipif(
    not os.environ.get("METALEARN_DATA") or not REAL.is_dir(),
    reason="set METALEARN_DATA to a folder that has omniglot/",
)
def test_golden_real_character(tmp_path: Path) -> None:
    images = class_images(load(REAL, tmp_path, size=28)["train"], "Greek/character05")
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "270f416c7ee207409985b90b8ad51834a72eafdd79a7893aeb7079912aad3dd6"
