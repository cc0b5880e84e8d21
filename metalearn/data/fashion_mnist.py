"""Fashion-MNIST: 70,000 pictures of clothes in the format of MNIST.

Han Xiao, Kashif Rasul, Roland Vollgraf: Fashion-MNIST, a Novel Image Dataset for Benchmarking
Machine Learning Algorithms. 2017, arXiv 1708.07747.
"""

from typing import ClassVar

from metalearn.data.ten_classes import AbstractTenClasses


class FashionMNIST(AbstractTenClasses):
    """Fashion-MNIST, bright clothes on black.

    Args:
        root: folder of the idx files, gzipped or not; absent ones are downloaded to it.
        installed: second folder that may hold them; None: no second folder.
        split: `images` (the splits share the ten classes) or `classes` (they share nothing).
        input_shape: [1, H, W].
        url: address of the folder of the files.

    Examples:
        >>> url = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
        >>> source = FashionMNIST("data", split="images", input_shape=[1, 28, 28], url=url)
        >>> source.input_shape
        (1, 28, 28)
        >>> source.load()["test"].num_classes  # doctest: +SKIP
        10
    """

    in_imagenet = "some"
    name = "fashion_mnist"
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    md5: ClassVar = {  # MD5 of the authors' files
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }
