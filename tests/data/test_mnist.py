"""MNIST and Fashion-MNIST in their real layout, with a few patterns instead of the images."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metalearn.data.bank import ClassBank
from metalearn.data.fashion_mnist import FashionMNIST
from metalearn.data.mnist import MNIST
from metalearn.data.ten_classes import AbstractTenClasses, Divided

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
COUNTS = [20, 21, 20, 25, 20, 20, 23, 20, 20, 22]  # images of each digit
TRAINING_SEED = 52  # all ten are among the last sixth


def digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws images (M, 28, 28) whose digit is the place of a square, and labels (M,), unordered."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(10), COUNTS)).astype(np.uint8)
    images = rng.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
    for image, digit in zip(images, labels, strict=True):
        row, column = divmod(int(digit), 4)
        image[2 + 8 * row : 9 + 8 * row, 1 + 7 * column : 7 + 7 * column] = 255
    return images, labels


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


FILES = dict(zip((IMAGES, LABELS), map(idx, digits()), strict=True))
TRAINING_FILES = dict(zip((TRAIN_IMAGES, TRAIN_LABELS), map(idx, digits(TRAINING_SEED)), strict=True))


def write(root: Path, files: dict[str, bytes] = FILES, *, zipped: bool = True) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return root


def source(
    root: Path,
    input_shape: tuple[int, int, int] = (1, 28, 28),
    *,
    split: Divided = "images",
    kind: type[AbstractTenClasses] = MNIST,
    installed: Path | None = None,
) -> AbstractTenClasses:
    elsewhere = None if installed is None else str(installed)
    nowhere = "http://127.0.0.1:9"  # address without a server
    return kind(str(root), installed=elsewhere, split=split, input_shape=list(input_shape), url=nowhere)


def refusal(root: Path) -> str:
    """Returns the one line of the error."""
    with pytest.raises((OSError, ValueError), match="^mnist: ") as caught:
        source(root).load()["test"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def class_images(bank: ClassBank, name: str) -> np.ndarray:
    return bank.images[bank.rows[bank.names.index(name)]].numpy()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_test_alone_needs_the_test_files_alone(tmp_path: Path, zipped: bool) -> None:
    banks = source(write(tmp_path, zipped=zipped)).load()
    assert "train" in banks and "other" not in banks
    bank = banks["test"]
    assert bank.names == tuple("0123456789")
    assert [len(rows) for rows in bank.rows] == COUNTS
    assert bank.smallest_class == 20
    images, labels = digits()
    for digit in range(10):
        np.testing.assert_array_equal(class_images(bank, str(digit))[:, 0], images[labels == digit])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_divided_images_are_all_there_once(tmp_path: Path, kind: type[AbstractTenClasses]) -> None:
    banks = source(write(tmp_path, FILES | TRAINING_FILES), kind=kind).load()
    assert list(banks) == ["train", "val", "test"]
    assert {banks[split].names for split in banks} == {kind.class_names}
    assert [len(banks[split].images) for split in banks] == [176, 35, 211]  # 5/6 and 1/6 of the training file
    together = np.concatenate([banks["train"].images.numpy(), banks["val"].images.numpy()])
    np.testing.assert_array_equal(together[:, 0], digits(TRAINING_SEED)[0])
    np.testing.assert_array_equal(banks["test"].images[:, 0].numpy(), digits()[0])


def test_divided_classes_have_nothing_in_common(tmp_path: Path) -> None:
    banks = source(write(tmp_path, FILES | TRAINING_FILES), split="classes").load()
    assert [banks[split].names for split in banks] == [("0", "1", "2", "3"), ("4", "5", "6"), ("7", "8", "9")]
    for split, (images, labels) in {
        "train": digits(TRAINING_SEED),
        "val": digits(TRAINING_SEED),
        "test": digits(),
    }.items():
        for name in banks[split].names:
            np.testing.assert_array_equal(class_images(banks[split], name)[:, 0], images[labels == int(name)])
    with pytest.raises(ValueError, match="split is 'pixels'; it must be images or classes"):
        source(tmp_path, split="pixels")


def test_an_installed_package_is_read_where_the_folder_has_no_file(tmp_path: Path) -> None:
    installed = write(tmp_path / "installed", FILES | TRAINING_FILES)
    banks = source(tmp_path / "own", kind=FashionMNIST, installed=installed).load()
    assert len(banks["train"].images) == 176
    assert not (tmp_path / "own").exists()
    write(tmp_path / "own", dict(zip((IMAGES, LABELS), map(idx, digits(2)), strict=True)))
    np.testing.assert_array_equal(
        source(tmp_path / "own", kind=FashionMNIST, installed=installed).load()["test"].images[:, 0].numpy(),
        digits(2)[0],
    )


def test_other_sizes_are_resized(tmp_path: Path) -> None:
    bank = source(write(tmp_path), (1, 20, 32)).load()["test"]
    assert bank.images.shape == (sum(COUNTS), 1, 20, 32)
    expected = Image.fromarray(digits()[0][0]).resize((32, 20), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(bank.images[0, 0].numpy(), np.asarray(expected))
    with pytest.raises(ValueError, match="^mnist: images have 1 channel, but input_shape asks for 3$"):
        source(tmp_path, (3, 28, 28))


def test_missing_files_say_what_to_put_where(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert f"{IMAGES} is missing; put {IMAGES}.gz or {IMAGES} into {tmp_path}" in message
    write(tmp_path, {IMAGES: FILES[IMAGES]})
    assert f"{LABELS} is missing" in refusal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{IMAGES}.gz"]


IMAGE_BYTES, LABEL_BYTES = FILES[IMAGES], FILES[LABELS]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "it is not an idx file of bytes with 3 axes"),
        (IMAGES, b"no images", "it is not an idx file of bytes with 3 axes"),
        (IMAGES, IMAGE_BYTES[:14], "it is not an idx file of bytes with 3 axes"),
        (IMAGES, LABEL_BYTES, "it is not an idx file of bytes with 3 axes"),
        (IMAGES, IMAGE_BYTES[:5000], "it has 4,984 of 165,424 bytes"),
        (LABELS, LABEL_BYTES + b"0", "it has more than 211 bytes"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write(tmp_path, FILES | {name: content}, zipped=False)
    assert refusal(tmp_path) == (
        f"mnist: {tmp_path / name} is damaged ({message}); replace it, or delete it to have it downloaded"
    )


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = write(tmp_path) / f"{IMAGES}.gz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    for content in (whole[:2000], bytes(flipped), b"no gzip", whole[:-4] + b"0000"):
        path.write_bytes(content)
        assert f"{path} is damaged (" in refusal(tmp_path)
    path.write_bytes(whole)
    assert source(tmp_path).load()["test"].num_classes == 10


def test_images_and_labels_must_go_together(tmp_path: Path) -> None:
    _, labels = digits()
    message = refusal(write(tmp_path / "fewer", FILES | {LABELS: idx(labels[:-1])}))
    assert message.endswith(f"{IMAGES}.gz has 211 images, but {LABELS}.gz 210 labels")
    message = refusal(write(tmp_path / "strange", FILES | {LABELS: idx(np.where(labels == 3, 10, labels))}))
    assert message.endswith(f"{LABELS}.gz has the label 10; labels are 0 to 9")
    message = refusal(write(tmp_path / "absent", FILES | {LABELS: idx(np.where(labels == 3, 5, labels))}))
    assert message.endswith(f"{LABELS}.gz has no 3; all ten labels are needed")


# --- the command line --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a folder of data sets."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "mnist")
    return folder


# The head of baseline has the training classes.
@pytest.mark.parametrize("algorithm", ["prototypical", "baseline"])
def test_what_was_trained_on_glyphs_is_tested_on_it(metalearn, data: Path, algorithm: str) -> None:
    trained = metalearn(f"algorithm={algorithm}", "trainer.max_steps=4")
    assert trained.code == 0, trained.text
    command = ["mode=test", f"checkpoint={trained.folder}/checkpoints/best.ckpt", "dataset=mnist", f"paths.data={data}"]
    tested = metalearn(*command, "episode.test.way=10", small=False)
    assert tested.code == 0, tested.text
    result = tested.result
    assert (result["dataset"], result["trained_dataset"], result["algorithm"]) == ("mnist", "glyphs", algorithm)
    assert "glyphs, " in tested.text
    assert (result["episode"]["test"]["way"], result["test"]["accuracy"]["num_episodes"]) == (10, 7)
    assert result["val"] == trained.result["val"]
    assert result["test"]["episodes_sha256"] != trained.test["episodes_sha256"]


def test_training_without_the_training_files_is_refused(metalearn, data: Path) -> None:
    url = "dataset.url=http://127.0.0.1:9"
    refused = metalearn("dataset=mnist", f"paths.data={data}", url, small=False)
    assert refused.code == 2
    assert f"metalearn: mnist: {TRAIN_IMAGES} is missing; put {TRAIN_IMAGES}.gz or" in refused.text
    assert refused.result["status"] == "failed"


def test_the_digits_teach_a_dense_network_and_the_clothes_test_it(metalearn, tmp_path: Path) -> None:
    for name in ("mnist", "fashion_mnist"):
        write(tmp_path / name, FILES | TRAINING_FILES)
    small = ("trainer.max_steps=2", "trainer.val_check_interval=2", "episode.train.query=1", "episode.val.query=2")
    counts = ("episode.val.num_episodes=2", "episode.test.num_episodes=3")
    typed = ("algorithm=maml", "backbone=mlp", "backbone.hidden=[128]", "dataset=mnist", f"paths.data={tmp_path}")
    both = metalearn(*typed, "test_dataset=fashion_mnist", *small, *counts, small=False)
    assert both.code == 0, both.text
    assert (both.result["test_dataset"], both.result["shared_classes"]) == ("fashion_mnist", 0)
    own = metalearn(*typed, *small, *counts, small=False)
    assert own.code == 0, own.text
    assert own.result["shared_classes"] == 10  # other images of the ten digits
    assert "10 of the 10 meta-test classes have names of training classes" in own.text


REAL = Path(os.environ.get("METALEARN_DATA", "")) / "mnist"


@pytest.mark.skipif(
    not os.environ.get("METALEARN_DATA") or not REAL.is_dir(),
    reason="set METALEARN_DATA to a folder that has mnist/",
)
def test_golden_real_digits() -> None:
    bank = source(REAL).load()["test"]
    assert [len(rows) for rows in bank.rows] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The md5 is that of the official file, unzipped and without its header of 16 bytes.
    header = struct.pack(">4B3I", 0, 0, 8, 3, 10_000, 28, 28)
    assert hashlib.md5(header + bank.images.numpy().tobytes()).hexdigest() == "2646ac647ad5339dbf082846283269ea"
