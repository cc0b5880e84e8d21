"""Your own texts with their labels, as few-shot tasks: intents, topics, sentiments."""

from pathlib import Path

from metalearn.data.bank import ClassBank
from metalearn.data.files.source import named
from metalearn.data.manifest import Division
from metalearn.data.text.banks import text_banks, text_shape
from metalearn.data.text.preparation import TextPreparation
from metalearn.data.text.reading import read_texts
from metalearn.data.text.tokens import Encoding
from metalearn.types import SPLITS, Split

ADVICE = "dataset.root=FILE is a CSV file with the header text,label, or FILE.jsonl of objects with text and label"


class LabelledTexts:
    """Texts of a file as a Source, whose classes are divided like those of a folder of images.

    The file `manifest` lists the split of each class. An absent one is drawn by `split` (fractions)
    and `split_seed`, and written. Texts are cut after `input_shape` tokens.
    """

    def __init__(
        self,
        root: str,
        *,
        manifest: str,
        split: list[float],
        split_seed: int,
        input_shape: list[int],
        encoding: Encoding,
    ) -> None:
        self.root, self.encoding = Path(root), encoding
        self.input_shape = text_shape("text", input_shape)
        self.division = Division("text", self.root, Path(manifest), split, split_seed)

    def load(self) -> dict[Split, ClassBank]:
        """Returns the banks of the splits; only that of meta-test if all classes belong to it.

        Raises ValueError or OSError in one line: what is missing or wrong, and in which line of the
        file.
        """
        with named("text"):
            if not self.root.exists():
                raise FileNotFoundError(f"{self.root.absolute()} is absent; {ADVICE}")
            texts = read_texts(self.root)
            classes = {split: names for split, names in self.division.classes(texts).items() if names}
            if [*classes] not in ([*SPLITS], ["test"]):
                missing = " and ".join(split for split in SPLITS if split not in classes)
                raise ValueError(f"no classes are for {missing}: all three splits are needed, or test alone")
            splits = {split: {name: texts[name] for name in names} for split, names in classes.items()}
            self.preparation = TextPreparation.of_training(self.encoding, splits, *self.input_shape)
            banks = text_banks("text", splits, self.preparation)
            self.division.keep(classes)
            return banks
