"""MNIST: 70,000 handwritten digits.

Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner: Gradient-based learning applied to document
recognition. Proceedings of the IEEE 86, 1998.
"""

from typing import ClassVar

from metalearn.data.ten_classes import AbstractTenClasses


class MNIST(AbstractTenClasses):
    """MNIST, white digits on black.

    Args:
        root: folder of the idx files, gzipped or not; absent ones are downloaded to it.
        installed: second folder that may hold them; None: no second folder.
        split: `images` (the splits share the ten classes) or `classes` (they share nothing).
        input_shape: [1, H, W].
        url: address of the folder of the files.

    Examples:
        >>> url = "https://ossci-datasets.s3.amazonaws.com/mnist"
        >>> source = MNIST("data", split="images", input_shape=[1, 28, 28], url=url)
        >>> source.input_shape
        (1, 28, 28)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        10
    """

    in_imagenet = "none"
    name = "mnist"
    class_names = tuple("0123456789")
    md5: ClassVar = {  # MD5 of the mirror's files, from torchvision
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    }
