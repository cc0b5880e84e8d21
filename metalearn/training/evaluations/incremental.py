"""Class-incremental learning: classes arrive session by session, and none is shown again.

Xiaoyu Tao, Xiaopeng Hong, Xinyuan Chang, Songlin Dong, Xing Wei, Yihong Gong. Few-Shot
Class-Incremental Learning. CVPR 2020, arXiv 2004.10956. Each session adapts to its own support set
alone. The logits of all sessions so far are concatenated, like prototypes that accumulate.
"""

import torch

from metalearn.estimates import Curve
from metalearn.stats import estimate
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest, Scored, check_episodes


class Incremental(AbstractEvaluation):
    """Class-incremental evaluation of Tao et al. 2020.

    Args:
        num_episodes: number of episodes.
        sessions: number of sessions of an episode, each with the way and the shot of meta-test.

    Examples:
        >>> import numpy as np
        >>> from metalearn import MLP, ClassBank, Prototypical, Setting
        >>> images = np.zeros((10, 4, 1, 2, 2), dtype=np.uint8)
        >>> bank = ClassBank.from_classes(images, list("abcdefghij"))
        >>> algorithm = Prototypical(MLP([1, 2, 2]), batch_norm="running").eval()
        >>> meta_test = MetaTest(algorithm, bank, Setting(5, shot=1, query=3), torch.device("cpu"))
        >>> list(Incremental(num_episodes=2, sessions=2)(meta_test).scores)
        ['accuracy_after_last', 'mean_accuracy', 'accuracy_lost']
    """

    name = "incremental"

    def __init__(self, *, num_episodes: int, sessions: int) -> None:
        if num_episodes < 1 or sessions < 2:
            raise ValueError(
                f"evaluation.further: num_episodes={num_episodes} must be positive, sessions={sessions} at least 2"
            )
        self.num_episodes, self.sessions = num_episodes, sessions

    def check(self, meta_test: MetaTest) -> None:
        ways = self.sessions * meta_test.setting.largest_way
        check_episodes(meta_test, ways, "evaluation=incremental", lower="evaluation.further.sessions")

    def __call__(self, meta_test: MetaTest) -> Scored:
        way = meta_test.setting.largest_way
        draws = meta_test.draws(self.sessions * way, self.num_episodes)
        inputs = meta_test.inputs_of(draws)
        accuracies = []  # (E, sessions)
        for episode in draws:
            # A transductive learner must not see the queries of later sessions.
            asked = [episode.query_ways < (session + 1) * way for session in range(self.sessions)]  # (Q,) each
            logits: list[list[torch.Tensor]] = [[] for _ in asked]  # after each session, (Q, way) of each so far
            for session in range(self.sessions):
                own = episode.support_ways // way == session
                ways = (episode.support_ways[own] % way).to(meta_test.device)
                predict = meta_test.adapt(inputs(episode.support_rows[own]), ways, way)
                for later in range(session, self.sessions):
                    logits[later].append(predict(inputs(episode.query_rows[asked[later]])).cpu())
            predicted = [torch.cat(parts, dim=1).argmax(1) for parts in logits]  # (Q,) each
            right = [answer == episode.query_ways[rows] for answer, rows in zip(predicted, asked, strict=True)]
            accuracies.append(torch.stack([each.double().mean() for each in right]))
        by_session = torch.stack(accuracies)  # (E, sessions)
        scores = {
            "accuracy_after_last": by_session[:, -1],
            "mean_accuracy": by_session.mean(1),
            "accuracy_lost": by_session[:, 0] - by_session[:, -1],
        }
        classes = [float((session + 1) * way) for session in range(self.sessions)]
        curve = Curve("classes so far", "accuracy", classes, by_session.mean(0).tolist())
        return Scored({name: estimate(values.numpy()) for name, values in scores.items()}, curve)
