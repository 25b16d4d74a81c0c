"""How many of the asked-for things there are: what a tally counts, tells and learns."""

from __future__ import annotations

import pytest
import torch
from small_models import small_model, write_recipe
from small_runs import few_amounts, follow, log_of, same_weights, weights_of

from pplava_core.errors import ModelError, RecipeError
from pplava_core.models.backbones.nano_list import MOST_LISTED, Listed
from pplava_core.models.backbones.nano_tally import MOST_COUNTED, Counted, Counting, Tally
from pplava_core.models.backbones.nano_things import HELD, SORTS
from pplava_core.models.checkpoint import load_model, save_model
from pplava_core.train import read_recipe
from pplava_core.train.attending import SortDensities, listing_loss, tally_loss, true_come
from pplava_core.train.instruct import InstructStage, tallied
from pplava_core.window import Window

WINDOW = Window((2, 3, 3))


@pytest.fixture
def small_amounts():
    with few_amounts():
        yield


def test_counts_are_nothing_at_first_and_need_averages():
    torch.manual_seed(3)
    features, relevance = torch.randn(1, 4, 6, 6, 16), torch.rand(1, 4, 6, 6)
    relevance = relevance / relevance.sum()
    plain = small_model(tells_average=True)
    told = small_model(tells_average=True, tells_count=True)
    told.load_state_dict({**told.state_dict(), **plain.state_dict()})
    tokens = plain.visual_tokens(features, relevance).tokens
    assert torch.equal(told.visual_tokens(features, relevance).tokens, tokens)
    lists = small_model(tells_average=True, tells_count=True, tells_list=True)
    lists.load_state_dict({**lists.state_dict(), **plain.state_dict()})
    visual = lists.visual_tokens(features, relevance)
    listed = visual.tokens
    assert visual.listed == MOST_LISTED
    assert torch.equal(listed[:, :-MOST_LISTED], tokens)
    assert (listed.shape[1],) == visual.block_sizes == (tokens.shape[1] + MOST_LISTED,)
    size = lists.config.window.output_size((4, 6, 6))
    timed = lists.parts.at_times(listed, size, torch.tensor([8.0]))
    assert torch.equal(timed[:, -MOST_LISTED:], listed[:, -MOST_LISTED:])
    assert not torch.isclose(timed[:, :-MOST_LISTED], listed[:, :-MOST_LISTED]).all(-1).any()
    with pytest.raises(ModelError, match="tells_count needs tells_average"):
        small_model(tells_count=True)
    with pytest.raises(ModelError, match="tells_list needs tells_count"):
        small_model(tells_average=True, tells_list=True)


class Known(torch.nn.Module):
    """Stands for the densities that a tally reads."""

    def __init__(self, there, new):
        super().__init__()
        self.density = torch.stack([torch.tensor(there), torch.tensor(new)], dim=-1)

    def forward(self, state, averages, size):
        return self.density.flatten(0, 1).expand(len(state), -1, 2)


def told_by_tally(there, new):
    """Return ``(T, D)``: what tokens of so many moments are told of known densities ``(T, N)``."""
    torch.manual_seed(0)
    tally = Tally(8, 16, WINDOW)
    torch.nn.init.normal_(tally.tell.weight)
    torch.nn.init.normal_(tally.count.come.weight)
    tally.count.density = Known(there, new)
    steps, tokens = len(there), len(there[0])
    before = torch.randn(1, steps, 1, tokens, 16)
    told = tally(before, torch.randn(1, steps, 1, tokens, 8), WINDOW).view(before.shape) - before
    torch.testing.assert_close(told, told[:, :, :, :1].expand_as(told))
    return told[0, :, 0, 0]


def test_a_tally_tells_sums_and_not_where_they_come_from():
    one = told_by_tally([[0.5, 0.5], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])
    same = told_by_tally([[0.0, 1.0], [0.25, 1.75]], [[0.5, 0.5], [0.5, 0.5]])
    torch.testing.assert_close(one, same)
    # One more in the last moment changes what is told of the first, which hears what ever comes.
    more = told_by_tally([[0.5, 0.5], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])
    assert not torch.allclose(one[0], more[0])


def test_a_moment_is_counted_without_what_comes_later():
    torch.manual_seed(0)
    counting = Counting(8, 16, WINDOW)
    for parameter in (counting.come.weight, counting.before.leave.weight):
        torch.nn.init.normal_(parameter)
    sums = torch.tensor([[1.0, 1.0], [2.0, 1.0], [2.0, 0.0]])
    later = torch.tensor([[1.0, 1.0], [2.0, 1.0], [4.0, 2.0]])
    tokens, averages = torch.randn(1, 3, 1, 1, 16), torch.randn(1, 3, 1, 1, 8)
    come = []
    for numbers in (sums, later):
        counting.density = Known(*numbers.T[..., None].tolist())
        come.append(counting(tokens, averages, WINDOW).come)
    assert come[0].shape == (1, 3, MOST_COUNTED + 1)
    torch.testing.assert_close(come[0][:, :2], come[1][:, :2])
    assert not torch.allclose(come[0][:, 2], come[1][:, 2])


def test_windows_are_compared_with_those_before_and_around_them():
    torch.manual_seed(0)
    before = Counting(8, 16, WINDOW).before
    torch.nn.init.normal_(before.leave.weight)
    state, known = torch.randn(1, 5 * 4 * 4, 16), torch.rand(1, 5 * 4 * 4, 1)
    changed = state.clone().view(1, 5, 4, 4, 16)
    changed[0, 1, 0, 0] += 1.0
    size = torch.Size((5, 4, 4))
    one, other = (before(s.view(1, -1, 16), known, size) for s in (state, changed))
    differs = (one - other).abs().amax(-1).view(5, 4, 4) > 1e-6
    assert not differs[0].any()  # what was there before does not know what comes
    assert differs[1:, :3, :3].all()
    assert not differs[:, 3, :].any()
    assert not differs[:, :, 3].any()


def test_a_window_of_twice_the_size_holds_twice_as_much():
    torch.manual_seed(0)
    counting = Counting(8, 16, WINDOW)
    torch.nn.init.normal_(counting.first.rest.weight)
    tokens, averages = torch.randn(1, 2, 3, 3, 16), torch.randn(1, 2, 3, 3, 8)
    once, twice = (counting(tokens, averages, w) for w in (WINDOW, Window((4, 6, 3))))
    torch.testing.assert_close(twice.first, 2 * once.first)
    assert once.first.abs().max() > 0


def test_what_had_come_is_added_up_from_what_is_new():
    new = torch.tensor([[[0.5, 0.5], [0.0, 0.1], [1.0, 1.0]], [[0.0, 0.0], [9.0, 3.0], [1.0, 0.0]]])
    assert true_come(new).tolist() == [[1, 1, 3], [0, MOST_COUNTED, MOST_COUNTED]]


def test_a_tally_learns_to_count_what_ever_comes():
    """Things stand in some of the windows from some moment on; every one is to be counted once."""
    torch.manual_seed(0)
    counting = Counting(4, 32, WINDOW)
    optimiser = torch.optim.Adam(counting.parameters(), 3e-3)
    places = torch.randn(4, 1, 6, 32) * 0.3
    for _ in range(250):
        first = torch.randint(0, 6, (16, 1, 1, 6))  # 4 and 5: it never comes
        there = (torch.arange(4)[None, :, None, None] >= first).float()
        averages = torch.zeros(16, 4, 1, 6, 4)
        averages[..., 0] = there
        counted = counting(places.expand(16, -1, -1, -1, -1), averages, WINDOW)
        new = (torch.arange(4)[None, :, None] == first[:, 0]).float()
        loss = tally_loss(counted, there[:, :, 0], new)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = counted.come.argmax(-1) == true_come(new)
    assert right.float().mean() > 0.8
    assert right[:, -1].float().mean() > 0.7


def test_what_lists_things_changes_nothing_of_what_counts_them():
    torch.manual_seed(0)
    counting = Counting(8, 16, WINDOW, lists=True)
    torch.nn.init.normal_(counting.list.read[-1].weight)
    torch.nn.init.normal_(counting.list.come.weight)
    tokens, averages = torch.randn(1, 2, 3, 3, 16), torch.randn(1, 2, 3, 3, 8)
    held = torch.rand(1, 2, 3, 3, HELD, requires_grad=True)
    counted = counting(tokens, averages, WINDOW, held)
    assert counted.listed.there.shape == counted.listed.new.shape == (1, 18, SORTS)
    assert counted.listed.come.shape == (1, 2, SORTS, MOST_LISTED + 1)
    assert counted.by_sort().shape == (1, SORTS)
    torch.testing.assert_close(counted.held, held.flatten(1, 3) * 9)
    listed = counted.listed
    sum(one.square().sum() for one in (listed.new, listed.there, listed.counts)).backward()
    assert held.grad is None  # what is held is learned from what is there alone
    learns = {name.split(".")[0] for name, p in counting.named_parameters() if p.grad is not None}
    assert learns == {"list"}
    with pytest.raises(ModelError, match="counts no sorts"):
        Counting(8, 16, WINDOW)(tokens, averages, WINDOW).by_sort()


def tally_recipe(folder, **changes):
    return write_recipe(
        folder / "tally.toml",
        drop=("model",),
        stage="tally",
        **{"initial": str(folder / "initial"), "steps": 4, "evaluate_every": 4, **changes},
    )


@pytest.mark.usefixtures("small_amounts")
@pytest.mark.parametrize("lists", [False, True])
def test_the_stage_trains_the_tally_and_nothing_else(tmp_path, lists):
    torch.manual_seed(5)
    learned = {"tells_list": lists, "training": {"align": {}, "instruct": {}}}
    save_model(small_model(tells_average=True, tells_count=True, **learned), tmp_path / "initial")
    recipe = tally_recipe(tmp_path, data={"count_weight": 4.0, "questions_per_clip": 1})
    made = follow(recipe)
    one, other = weights_of(tmp_path / "initial"), weights_of(made)
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    counts = {name for name in changed if name.startswith("parts.tally.count.")}
    assert {name.split(".")[3] for name in counts} >= {"look", "first", "density", "add", "come"}
    assert lists == ("parts.tally.count.list.come.weight" in counts)
    others = {name for name in changed - counts if ".scale." not in name}  # measured, where not yet
    assert lists == bool(others)
    assert all(name.startswith("parts.things.") for name in others)
    losses = [line for line in log_of(tmp_path / "run") if "loss" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4]
    assert all(0 <= line["counted_all"] <= 1 for line in losses)
    scores = next(line for line in log_of(tmp_path / "run") if "validation_count" in line)
    assert {"validation_count_there", "validation_count_colour"} <= set(scores)
    again = follow(recipe, output=str(tmp_path / "again"))
    assert same_weights(other, weights_of(again))


def test_what_windows_hold_is_learned_from_what_is_there():
    torch.manual_seed(0)
    counting = Counting(8, 16, WINDOW, lists=True)
    true = SortDensities(
        held=torch.rand(1, 2, 9, HELD),
        there=torch.zeros(1, 2, 9, SORTS),
        new=torch.zeros(1, 2, 9, SORTS),
    )
    none = torch.zeros(1, 2, 9)

    def loss_of(held):
        counted = counting(*given, WINDOW, held.view(1, 2, 3, 3, HELD) / 9)
        return tally_loss(counted, none, none, true) - listing_loss(counted.listed, true)

    given = torch.zeros(1, 2, 3, 3, 16), torch.zeros(1, 2, 3, 3, 8)
    assert loss_of(true.held) < loss_of(true.held + 0.3) - 10
    assert loss_of(true.held) < loss_of(true.held * 0) - 10


def test_how_many_there_are_is_told_by_moments_and_by_sorts():
    come = torch.tensor([[[0.0, 0.0, 2.0, 1.0, *[-9.0] * 6]]])
    counts = torch.full((1, SORTS, MOST_LISTED + 1), -20.0)
    counts[..., 0] = 20.0
    counts[0, 5, :4] = torch.tensor([-9.0, 0.0, 0.0, 3.0])
    none = torch.zeros(1, 2, SORTS)
    listed = Listed(there=none, new=none, come=none, counts=counts, shown=none)
    counted = Counted(first=come, density=come, come=come, held=none, listed=listed)
    assert counted.in_all().argmax() == 3
    assert counted.by_sort()[0].nonzero().tolist() == [[5]]
    assert counted.by_sort()[0, 5] == 3
    alone = counted._replace(listed=None)
    assert torch.equal(alone.in_all(), come[:, -1])


@pytest.mark.usefixtures("small_amounts")
def test_the_language_model_learns_to_read_the_list_and_changes_nothing_of_it(tmp_path):
    torch.manual_seed(5)
    told = {"tells_average": True, "tells_count": True, "tells_list": True}
    initial = small_model(**told, training={"align": {}, "instruct": {}})
    torch.nn.init.zeros_(initial.parts.tally.count.list.come.bias)  # it says that there are many
    save_model(initial, tmp_path / "initial")
    path = write_recipe(
        tmp_path / "instruct.toml",
        drop=("model",),
        stage="instruct",
        initial=str(tmp_path / "initial"),
        steps=3,
        evaluate_every=3,
    )
    made = follow(path)
    one, other = weights_of(tmp_path / "initial"), weights_of(made)
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert {f"parts.tally.list.{name}.weight" for name in ("colour", "kind", "place")} <= changed
    lines = [line for line in log_of(tmp_path / "run") if "loss" in line]
    assert all(line["tally"] > 0 for line in lines)
    assert any(line["listing"] > 0 for line in lines)
    stage = InstructStage(read_recipe(path), load_model(made))
    batch = next(b for b in map(stage.batch, range(20)) if b.packs[0].questions[0].targets)
    with tallied(stage.video) as counted:
        stage._visual_tokens(batch, stage._relevance(batch)).square().sum().backward()
    assert counted[0].by_sort().sum(1).tolist() == counted[0].in_all().argmax(1).tolist()
    learns = {n for n, p in stage.video.parts.tally.named_parameters() if p.grad is not None}
    assert {"list.colour.weight", "list.shown.weight", "tell.weight"} <= learns
    assert not any(name.startswith("count.") for name in learns)
    assert "tell_held.weight" in learns
    assert all(p.grad is None for p in stage.video.parts.things.parameters())


def test_a_list_needs_two_heads_that_can_be_told(tmp_path):
    told = {"tells_average": True, "tells_count": True, "tells_list": True}
    llm = {"num_attention_heads": 1, "num_key_value_heads": 1}
    save_model(small_model(training={"align": {}}), tmp_path / "initial")
    path = write_recipe(
        tmp_path / "instruct.toml",
        drop=("model",),
        stage="instruct",
        initial=str(tmp_path / "initial"),
        changes={**told, "llm": llm},
    )
    with pytest.raises(RecipeError, match="language model of 2 heads or more"):
        follow(path)


@pytest.mark.usefixtures("small_amounts")
def test_a_model_without_a_tally_is_refused(tmp_path):
    save_model(small_model(tells_average=True), tmp_path / "initial")
    with pytest.raises(RecipeError, match="needs a model with tells_count = true"):
        follow(tally_recipe(tmp_path))
    with pytest.raises(RecipeError, match="of the tally stage needs keep_learned = true"):
        follow(tally_recipe(tmp_path, changes={"tells_count": True}))
    save_model(small_model(tells_average=True, tells_count=True), tmp_path / "counts")
    listing = {"changes": {"tells_list": True}, "keep_learned": True}
    with pytest.raises(RecipeError, match=r"no place for parts\.tally\.count\.enter\.weight"):
        follow(tally_recipe(tmp_path, initial=str(tmp_path / "counts"), **listing))
    added = {"changes": {"tells_count": True, "tells_list": True}, "keep_learned": True}
    made = weights_of(follow(tally_recipe(tmp_path, **added)))
    assert made["parts.tally.count.list.read.2.weight"].any()
    assert made["parts.things.read.2.weight"].any()
    assert not made["parts.tally.tell_held.weight"].any()
    assert made["parts.tally.list.norm.weight"].eq(0.5).all()
    scores = next(line for line in log_of(tmp_path / "run") if "validation_listed" in line)
    assert 0 <= scores["validation_listed_all"] <= scores["validation_listed"] <= 1
