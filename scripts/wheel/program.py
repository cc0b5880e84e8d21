"""Program of a user: mypy --strict accepts it, and it trains two steps."""

import lightning.pytorch as pl
import torch

from metalearn import Conv4, EpisodicDataModule, FewShotModule, Glyphs, Prototypical, Setting, evaluate

glyphs = Glyphs("cache", seed=0, input_shape=[1, 28, 28], num_alphabets=[2, 1, 1], characters=8, drawings=10)
setting = Setting(way=5, shot=1, query=5, num_episodes=3)
data = EpisodicDataModule(glyphs.load(), {"train": setting, "val": setting, "test": setting}, seed=0, tasks_per_batch=1)
algorithm = Prototypical(Conv4(glyphs.input_shape), batch_norm="running")
module = FewShotModule(algorithm, lambda weights: torch.optim.Adam(weights, lr=1e-3))
trainer = pl.Trainer(max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(module, datamodule=data)
accuracy: float = evaluate(trainer, module, data)[0]["accuracy"]["mean"]
assert 0 <= accuracy <= 1
