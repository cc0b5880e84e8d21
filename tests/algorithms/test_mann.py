"""The memory network: its memory by hand, its stream, and the rows that it may not see."""

import itertools
import math

import pytest
import torch
from conftest import episode
from torch import nn
from torch.nn import functional as F

from metalearn.algorithms.mann import INSTANCES, MANN, accuracy_by_instance
from metalearn.algorithms.parts.memory import EMPTY, Memory, access, empty, least_used_weights, read_weights, write
from metalearn.algorithms.parts.streams import mixed_order, order_by_instance
from metalearn.backbones.mlp import MLP
from metalearn.losses import cross_entropy
from metalearn.types import Episode

READS, SLOTS, WIDTH = 2, 5, 3


def mann(way: int = 3, batch_norm: str = "running") -> MANN:
    torch.manual_seed(0)
    return MANN(
        MLP([1, 4, 4], hidden=[6]),
        way=way,
        hidden=8,
        slots=6,
        width=4,
        reads=2,
        usage_decay=0.9,
        key_strength=5.0,
        batch_norm=batch_norm,
    ).double()


def task(shot: int = 2, query: int = 3) -> Episode:
    return Episode(*(part.double() for part in episode(tasks=1, way=3, shot=shot, query=query, size=4).tasks()[0]))


def test_the_least_used_slots_are_taken_and_the_first_of_equals() -> None:
    usage = torch.tensor([[0.5, 0.0, 0.2, 0.0, 0.0], [0.1, 0.4, 0.3, 0.2, 0.5]])
    assert least_used_weights(usage, 2).tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 1, 0]]


def test_read_weights_are_a_softmax_of_cosines() -> None:
    rows, keys = torch.randn(1, SLOTS, WIDTH), torch.randn(1, READS, WIDTH)
    strength = torch.tensor([[2.0], [5.0]])
    weights = read_weights(rows, keys, strength)
    for read in range(READS):
        scores = []
        for slot in range(SLOTS):
            product = sum(a * b for a, b in zip(keys[0, read].tolist(), rows[0, slot].tolist(), strict=True))
            length = math.hypot(*rows[0, slot].tolist(), EMPTY) * math.hypot(*keys[0, read].tolist())
            scores.append(math.exp(strength[read].item() * product / length))
        assert weights[0, read].tolist() == pytest.approx([score / sum(scores) for score in scores], rel=1e-4)


def test_lrua_agrees_with_plain_lists_over_several_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    gate, decay, strength = 0.3, 0.9, torch.full((READS, 1), 4.0)
    memory = empty(torch.zeros(1, 1), reads=READS, slots=SLOTS, width=WIDTH)
    rows = [[0.0] * WIDTH for _ in range(SLOTS)]
    usage, last_read = [0.0] * SLOTS, [[0.0] * SLOTS for _ in range(READS)]
    for _ in range(6):
        contents = torch.randn(1, READS, WIDTH, generator=generator)
        keys = torch.randn(1, READS, WIDTH, generator=generator)
        # Eq. 6: as many least used slots as reads; they are emptied.
        least = sorted(range(SLOTS), key=lambda slot: (usage[slot], slot))[:READS]
        for slot in least:
            rows[slot] = [0.0] * WIDTH
        # Eq. 7 and 8: a mixture of the slots read before and the least used ones.
        written = [
            [gate * last_read[r][slot] + (1 - gate) * (slot in least) for slot in range(SLOTS)] for r in range(READS)
        ]
        for slot in range(SLOTS):
            for r in range(READS):
                rows[slot] = [
                    m + written[r][slot] * a for m, a in zip(rows[slot], contents[0, r].tolist(), strict=True)
                ]
        last_read = read_weights(torch.tensor([rows]), keys, strength)[0].tolist()
        # Eq. 5.
        usage = [
            decay * usage[slot] + sum(last_read[r][slot] + written[r][slot] for r in range(READS))
            for slot in range(SLOTS)
        ]
        readings = [
            [sum(last_read[r][s] * rows[s][e] for s in range(SLOTS)) for e in range(WIDTH)] for r in range(READS)
        ]

        read, memory = access(memory, contents, keys, strength=strength, gate=torch.tensor(gate), decay=decay)
        torch.testing.assert_close(memory.rows[0], torch.tensor(rows), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(memory.usage[0], torch.tensor(usage), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(read[0], torch.tensor(readings), rtol=1e-4, atol=1e-5)


def test_a_written_content_is_found_by_its_key() -> None:
    memory = empty(torch.zeros(1, 1), reads=1, slots=SLOTS, width=WIDTH)
    contents = torch.eye(3)[None]
    for index in range(3):
        memory, written = write(memory, contents[:, index : index + 1], torch.tensor(0.0))
        memory = Memory(memory.rows, memory.read, memory.usage + written.sum(1))
    found = read_weights(memory.rows, contents[:, 1:2], torch.full((1, 1), 50.0)) @ memory.rows
    torch.testing.assert_close(found, contents[:, 1:2], atol=1e-4, rtol=0)


def test_a_label_tells_the_later_rows_only() -> None:
    algorithm = mann()
    z = torch.randn(1, 7, 6, dtype=torch.float64)
    y = F.one_hot(torch.tensor([[0, 1, 2, 0, 1, 2, 0]]), 3).double()
    logits, _ = algorithm.follow(z, y)
    changed = y.clone()
    changed[0, 3] = torch.tensor([0.0, 0.0, 1.0])
    other, _ = algorithm.follow(z, changed)
    differs = [not torch.equal(logits[0, row], other[0, row]) for row in range(7)]
    assert differs == [False, False, False, False, True, True, True]


def test_adapting_is_the_stream_of_the_support_rows_and_then_one_query() -> None:
    algorithm, episode = mann().eval(), task()
    episode = episode._replace(support_x=episode.support_x.flip(0), support_y=episode.support_y.flip(0))
    predictions = algorithm.adapt(episode.support_x, episode.support_y)(episode.query_x)
    order = order_by_instance(episode.support_y)
    for query, prediction in zip(episode.query_x, predictions, strict=True):
        x = torch.cat([episode.support_x[order], query[None]])
        # Its own label is never an input.
        y = torch.cat([episode.support_y[order], torch.zeros(1, 3, dtype=torch.float64)])
        logits, _ = algorithm.follow(algorithm.embed_rows(x[None], len(order)), y[None])
        torch.testing.assert_close(prediction, logits[0, -1])


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
def test_queries_depend_on_one_another_in_batch_mode_only(batch_norm: str) -> None:
    algorithm, episode = mann(batch_norm=batch_norm).eval(), task()
    predict = algorithm.adapt(episode.support_x, episode.support_y)
    alone = torch.cat([predict(query[None]) for query in episode.query_x])
    assert torch.allclose(alone, predict(episode.query_x)) == (batch_norm != "batch")


def test_support_rows_come_one_of_each_class_after_the_other() -> None:
    y = F.one_hot(torch.tensor([0, 0, 2, 1, 2, 1]), 3)
    assert order_by_instance(y).tolist() == [0, 3, 2, 1, 5, 4]


def test_streams_are_mixed_but_the_same_for_the_same_batch() -> None:
    batch = episode(tasks=4, way=3, shot=3, query=3, size=4)
    order = mixed_order(batch)
    assert torch.equal(order, mixed_order(batch))
    assert torch.equal(order, mixed_order(Episode(*(part.double() for part in batch))))
    assert all(sorted(stream) == list(range(18)) for stream in order.tolist())
    assert len({tuple(stream) for stream in order.tolist()}) == 4
    assert not torch.equal(order, mixed_order(batch._replace(query_y=batch.query_y.flip(1))))


def test_the_order_of_a_small_task_gives_no_label_away() -> None:
    orders = [mixed_order(episode(tasks=1, way=2, shot=1, query=1, size=4, seed=i))[0].tolist() for i in range(300)]
    counts = torch.tensor([orders.count(list(order)) for order in itertools.permutations(range(4))])
    assert counts.sum() == 300 and 2 <= counts.min() <= counts.max() <= 30  # 12.5 of each are expected


def test_instances_are_counted_along_the_stream() -> None:
    # First instances at 0 and 1, second at 2 and 4, fifth at 6.
    ways = torch.tensor([0, 1, 0, 0, 1, 0, 0])
    y = F.one_hot(ways, 2)
    predicted = torch.tensor([0, 0, 0, 1, 0, 1, 0])
    logits = F.one_hot(predicted, 2).double()
    first, second, fifth, tenth = accuracy_by_instance(logits, y).tolist()
    assert INSTANCES == (1, 2, 5, 10)
    assert (first, second, fifth) == (0.5, 0.5, 1.0)
    assert math.isnan(tenth)


def test_rows_that_are_all_predicted_right_are_right_at_every_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, episode = mann(), task(shot=2, query=8)
    labels = torch.cat([episode.support_y, episode.query_y])
    monkeypatch.setattr(algorithm, "embed_rows", lambda x, support: labels[None])
    monkeypatch.setattr(algorithm, "follow", lambda z, y: (z, None))
    assert algorithm.curves(episode) == {"accuracy_by_instance": dict.fromkeys(INSTANCES, 1.0)}


def test_a_run_reports_the_accuracy_at_each_instance(metalearn) -> None:
    run = metalearn("algorithm=mann", "algorithm.hidden=8", "algorithm.slots=8", "tasks_per_batch=2")
    assert run.code == 0, run.text
    by_instance = run.test["accuracy_by_instance"]
    assert len(by_instance) == 4
    # 1 support and 15 query rows: even a tenth instance.
    assert all(0 <= value <= 1 for value in by_instance)
    assert "at the 1st, 2nd, 5th, 10th of a class" in run.text


@pytest.mark.parametrize(
    ("settings", "message"), [({"reads": 9}, "reads=9 must be 1 to 6"), ({"usage_decay": 1.5}, "usage_decay=1.5")]
)
def test_impossible_memories_are_refused(settings: dict[str, float], message: str) -> None:
    usual = {"hidden": 8, "slots": 6, "width": 4, "reads": 2, "usage_decay": 0.9, "key_strength": 5.0}
    with pytest.raises(ValueError, match=message):
        MANN(MLP([1, 4, 4], hidden=[6]), way=3, batch_norm="running", **(usual | settings))


@pytest.mark.parametrize("strength", [1e-3, 10.0, 1e4])
def test_the_strength_of_the_keys_starts_where_it_is_set(strength: float) -> None:
    usual = {"hidden": 8, "slots": 6, "width": 4, "reads": 2, "usage_decay": 0.9}
    algorithm = MANN(MLP([4]), way=3, **usual, key_strength=strength, batch_norm="running")
    assert F.softplus(algorithm.strength).flatten().tolist() == pytest.approx([strength] * 2, rel=1e-4)


def test_the_loss_is_that_of_all_rows_of_a_stream_and_the_logits_are_those_of_the_queries() -> None:
    algorithm, losses = mann(), []
    batch = Episode(*(part.double() for part in episode(tasks=2, way=3, shot=2, query=3, size=4)))
    output = algorithm.loss(batch)
    z, y = algorithm.embed(batch)
    torch.testing.assert_close(z.mean(1), torch.zeros(2, 6).double())  # removes what the rows of a task share
    for task, order in enumerate(mixed_order(batch)):
        logits, _ = algorithm.follow(z[task, order][None], y[task, order][None])
        losses.append(cross_entropy(logits[0], y[task, order]))
        for row, of_row in zip(order.tolist(), logits[0], strict=True):
            if row >= 6:  # the first six rows are the support set
                torch.testing.assert_close(output.logits[task, row - 6], of_row)
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())


def test_the_loss_reaches_the_memory() -> None:
    algorithm = mann()
    algorithm.loss(Episode(*(part[None] for part in task()))).loss.backward()
    for weight in (algorithm.alpha, algorithm.strength, algorithm.key.weight, algorithm.content.weight):
        assert weight.grad is not None and weight.grad.any()


def test_the_key_of_a_row_is_stored_when_its_label_comes() -> None:
    algorithm = mann()
    z, y = torch.randn(1, 6, dtype=torch.float64), F.one_hot(torch.tensor([1]), 3).double()
    _, first = algorithm.step(z, torch.zeros_like(y), algorithm.start(z))
    _, second = algorithm.step(torch.randn_like(z), y, first)
    contents = first.keys[0] + algorithm.content(second.hidden[0]).view(2, 4)  # (R, E)
    gate = torch.sigmoid(algorithm.alpha)
    # The first row used slots 0 and 1, so the second uses the next two.
    weights = gate * first.memory.read[0, :, 3] + 1 - gate  # (R,)
    torch.testing.assert_close(second.memory.rows[0, 3], weights @ contents)


def test_the_controller_is_an_lstm_and_the_logits_come_from_it_and_the_readings() -> None:
    algorithm, lstm = mann(), nn.LSTMCell(6 + 3, 8).double()
    for weight in algorithm.gates.parameters():
        nn.init.normal_(weight)
    for name, weight in (("weight", algorithm.gates.weight), ("bias", algorithm.gates.bias[:, None])):
        into, keep, out, new = weight.detach().chunk(4)
        ours = torch.cat([into, keep, new, out])  # in torch's order
        parts = (ours[:, :9], ours[:, 9:]) if name == "weight" else (ours[:, 0], torch.zeros_like(ours[:, 0]))
        lstm.load_state_dict({f"{name}_ih": parts[0], f"{name}_hh": parts[1]}, strict=False)
    state = algorithm.start(torch.zeros(2, 6).double())
    expected = state.hidden, state.cell
    for _ in range(3):
        z, y = torch.randn(2, 6).double(), F.one_hot(torch.randint(3, (2,)), 3).double()
        _, written = write(state.memory, torch.zeros(2, 2, 4).double(), algorithm.alpha.sigmoid())
        usage = 0.9 * state.memory.usage + written.sum(1)
        logits, state = algorithm.step(z, y, state)
        read = read_weights(state.memory.rows, state.keys, torch.tensor(5.0).double())
        torch.testing.assert_close(state.memory.read, read)
        torch.testing.assert_close(state.memory.usage, usage + read.sum(1))  # eq. 5
        expected = lstm(torch.cat([z, y], 1), expected)
        torch.testing.assert_close((state.hidden, state.cell), expected)
        readings = (read @ state.memory.rows).flatten(1)
        torch.testing.assert_close(logits, algorithm.output(torch.cat([state.hidden, readings], 1)))


def test_at_first_keys_identify_images_and_contents_identify_labels() -> None:
    algorithm = mann()
    images, labels = torch.randn(4, 6).double(), torch.eye(3).double()
    z, y = images.repeat_interleave(3, 0), labels.repeat(4, 1)  # every image with every label
    _, state = algorithm.step(z, y, algorithm.start(z))
    contents = algorithm.content(state.hidden) - algorithm.content.bias
    keys = state.keys.flatten(1) - algorithm.key.bias
    for vectors, owner in ((keys, torch.arange(4).repeat_interleave(3)), (contents, torch.arange(3).repeat(4))):
        cosines = F.normalize(vectors, dim=1) @ F.normalize(vectors, dim=1).T
        alike = owner[:, None] == owner
        assert cosines[alike].min() > cosines[~alike].max()
    assert algorithm.alpha.sigmoid() < 0.5  # most of each write goes to the least used slots


def test_the_gradient_agrees_with_finite_differences() -> None:
    algorithm, batch = mann(), Episode(*(part[None] for part in task(query=2)))
    algorithm.loss(batch).loss.backward()
    for weight in (algorithm.alpha, algorithm.strength, algorithm.key.weight, algorithm.gates.bias):
        flat, gradient = weight.data.view(-1), weight.grad.view(-1)
        for i in range(0, flat.numel(), 9):
            losses = []
            for sign in (1, -1):
                flat[i] += sign * 1e-6
                losses.append(algorithm.loss(batch).loss.item())
                flat[i] -= sign * 1e-6
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(gradient[i].item(), rel=1e-4, abs=1e-8)


def test_streams_are_independent_of_one_another() -> None:
    algorithm = mann()
    z = torch.randn(3, 8, 6, dtype=torch.float64)
    y = F.one_hot(torch.randint(3, (3, 8)), 3).double()
    together, _ = algorithm.follow(z, y)
    for stream in range(3):
        alone, _ = algorithm.follow(z[stream : stream + 1], y[stream : stream + 1])
        torch.testing.assert_close(alone[0], together[stream])
