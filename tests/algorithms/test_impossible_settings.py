"""Settings that no algorithm can use are refused by its constructor, in one line."""

import pytest
import yaml
from conftest import composed
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from metalearn.algorithms.cnp import CNP
from metalearn.backbones.mlp import MLP


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("meta_sgd algorithm.inner_lr=0.1", "inner_lr=0.1 must be two numbers, the smaller first"),
        ("meta_sgd algorithm.inner_lr=[0.1]", r"inner_lr=\[0.1\] must be two numbers"),
        ("meta_sgd algorithm.inner_lr=[]", r"inner_lr=\[\] must be two numbers"),
        ("meta_sgd algorithm.inner_lr=[0.1,0.005]", r"inner_lr=\[0.1, 0.005\] must be two numbers"),
        ("meta_sgd algorithm.inner_lr=[0.1,0.2,0.3]", r"inner_lr=\[0.1, 0.2, 0.3\] must be two numbers"),
        ("maml algorithm.inner_loop.adapt=['(']", r"inner_loop.adapt: '\(' is not a regular expression: missing \)"),
        ("finetune algorithm.adapt=['*']", r"algorithm.adapt: '\*' is not a regular expression: nothing to repeat"),
        ("lstm_learner algorithm.inner_loop.adapt=[]", "inner_loop.adapt is empty"),
        ("learned_optimizer algorithm.inner_loop.adapt=[]", "inner_loop.adapt is empty"),
        ("finetune algorithm.adapt=[]", "algorithm.adapt is empty"),
        (
            "maml_plus_plus algorithm.inner_loop.adapt=['backbone.*norm']",
            "inner_loop.adapt names weights of normalisation layers alone",
        ),
        ("maml_plus_plus algorithm.multi_step_until=-1", "multi_step_until=-1.* must be in 0..1"),
        ("maml_plus_plus algorithm.first_order_until=1.5", "first_order_until=1.5 must be in 0..1"),
        ("imaml backbone.freeze=true", r"backbone.blocks.0.conv.weight is frozen: .* backbone.freeze=false"),
        ("prototypical algorithm.distance=l2", "no distance 'l2'; choose from squared_euclidean, cosine"),
        ("metaoptnet algorithm.head=lda", "no head 'lda'; choose from svm, ridge"),
        ("triplet algorithm.mining=all", "no mining 'all'; choose from batch_hard, semi_hard"),
        ("relation algorithm.objective=mae", "no objective 'mae'; choose from mse, cross_entropy"),
        ("cavia algorithm.modulation=add", "no modulation 'add'; choose from film, concatenate"),
        ("learned_optimizer algorithm.layers=0", "layers=0 must be at least 1"),
        ("laplacian_shot algorithm.neighbours=0", "neighbours=0 must be at least 1"),
        ("relation algorithm.channels=0", "channels=0 must be at least 1"),
        ("relation algorithm.hidden=0", "hidden=0 must be at least 1"),
        ("learned_optimizer algorithm.hidden=0", "hidden=0 must be at least 1"),
        ("lstm_learner algorithm.hidden=0", "hidden=0 must be at least 1"),
        ("snail algorithm.width=0", "width=0 must be at least 1"),
        ("snail algorithm.filters=0", "filters=0 must be at least 1"),
        ("in_context algorithm.width=0", "width=0 must be at least 1"),
        ("distribution_calibration algorithm.samples=0", "samples=0 must be at least 1"),
        ("tim algorithm.steps=-3", "steps=-3 must be at least 0"),
        ("pt_map algorithm.steps=-3", "steps=-3 must be at least 0"),
        ("laplacian_shot algorithm.steps=-3", "steps=-3 must be at least 0"),
        ("pt_map algorithm.exponent=-0.5", "exponent=-0.5 must be positive"),
        ("pt_map algorithm.exponent=0", "exponent=0 must be positive"),
        ("distribution_calibration algorithm.exponent=0", "exponent=0 must be positive"),
        ("distribution_calibration algorithm.dispersion=-1", "dispersion=-1 must be at least 0"),
        ("maml algorithm.inner_lr=-1", "inner_lr=-1 must be at least 0"),
        ("reptile algorithm.inner_lr=-1", "inner_lr=-1 must be at least 0"),
        ("protomaml algorithm.inner_lr=-1", "inner_lr=-1 must be at least 0"),
        ("cavia algorithm.inner_lr=-1", "inner_lr=-1 must be at least 0"),
        ("imaml algorithm.inner_lr=-1", "inner_lr=-1 must be at least 0"),
        ("maml_plus_plus algorithm.inner_lr=-1", "inner_lr=-1 must be at least 0"),
        (
            "meta_sgd algorithm.inner_lr=[-1,-0.5]",
            r"inner_lr=\[-1, -0.5\] must be two numbers, the smaller first, none of them negative",
        ),
        ("triplet algorithm.finetune_lr=-1", "finetune_lr=-1 must be at least 0"),
        ("tim algorithm.lr=-1", "lr=-1 must be at least 0"),
        ("tim algorithm.support_weight=-1", "support_weight=-1 must be at least 0"),
        ("tim algorithm.conditional_weight=-1", "conditional_weight=-1 must be at least 0"),
        ("baseline algorithm.head_fit.steps=-1", "head_fit.steps=-1 must be at least 0"),
        ("baseline algorithm.head_fit.lr=-1", "head_fit.lr=-1 must be at least 0"),
        ("baseline algorithm.head_fit.momentum=-1", "head_fit.momentum=-1 must be at least 0"),
        ("baseline algorithm.head_fit.weight_decay=-1", "head_fit.weight_decay=-1 must be at least 0"),
        ("laplacian_shot algorithm.laplacian=-1", "laplacian=-1 must be at least 0"),
        ("bd_cspn algorithm.sharpness=-2", "sharpness=-2 must be positive"),
        ("tim algorithm.sharpness=-2", "sharpness=-2 must be positive"),
        ("pt_map algorithm.sharpness=-2", "sharpness=-2 must be positive"),
        ("laplacian_shot algorithm.sharpness=-2", "sharpness=-2 must be positive"),
        ("metaoptnet algorithm.scale=0", "scale=0 must be positive"),
        ("r2d2 algorithm.scale=0", "scale=0 must be positive"),
        ("finetune algorithm.scale=0", "scale=0 must be positive"),
        ("learned_optimizer algorithm.scale=0", "scale=0 must be positive"),
        ("baseline_plus_plus algorithm.base_scale=-1", "base_scale=-1 must be positive"),
        ("baseline_plus_plus algorithm.novel_scale=0", "novel_scale=0 must be positive"),
        ("pt_map algorithm.rate=2", "rate=2 must be in 0..1"),
        ("reptile algorithm.inner_loop.steps=0", "inner_loop.steps=0 must be at least 1"),
        ("maml algorithm.way=0", "way=0 must be at least 1"),
    ],
)
def test_an_impossible_setting_is_one_line(overrides: str, message: str) -> None:
    name, override = overrides.split()
    config, (key, value) = composed(f"algorithm={name}"), override.split("=")
    OmegaConf.update(config, key, yaml.safe_load(value))  # to compose for each would take longer
    with pytest.raises(InstantiationException, match=message) as raised:
        instantiate(config.algorithm)
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("name", ["reptile", "imaml"])
def test_a_setting_without_effect_is_a_warning(name: str, caplog: pytest.LogCaptureFixture) -> None:
    instantiate(composed(f"algorithm={name}", "algorithm.inner_loop.first_order=true").algorithm)
    assert "first_order=true has no effect" in caplog.text


@pytest.mark.parametrize(
    ("name", "choices"), [("batch_norm", "running, support, batch"), ("problem", "classification")]
)
def test_a_misspelt_word_from_python_is_refused(name: str, choices: str) -> None:
    with pytest.raises(ValueError, match=f"^there is no {name} 'rolling'; choose from {choices}"):
        CNP(MLP([4]), **{"width": 2, "way": 2, "batch_norm": "running", name: "rolling"})
