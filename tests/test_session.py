"""A session: one decode and one encode a clip, and everything that depends on the question."""

from __future__ import annotations

import pytest
import torch
from small_models import small_model, write_clip

from pplava_core import media
from pplava_core.errors import InputError, ShapeError, UsageError
from pplava_core.feature_cache import FeatureCache
from pplava_core.session import Generation, PoolingChoice, Session, Turn
from pplava_core.types import Sampling
from pplava_core.window import Window

QUESTION = "how many red circles are there?"
SHORT = Generation(max_new_tokens=10)


@pytest.fixture(scope="module")
def model():
    return small_model(seed=6)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("films") / "film.mp4", seed=1)


@pytest.fixture
def session(film, model):
    return Session.open([film], model)


@pytest.fixture
def work(monkeypatch, model):
    """Count what is decoded and encoded."""
    counts = {"decoded": 0, "encoded": 0}
    load_clip, iterate_frames = media.load_clip, media.iterate_frames

    def counted_load(*arguments, **options):
        counts["decoded"] += 1
        return load_clip(*arguments, **options)

    def counted_iterate(*arguments, **options):
        counts["decoded"] += 1
        return iterate_frames(*arguments, **options)

    def counted_tower(*_):
        counts["encoded"] += 1

    monkeypatch.setattr(media, "load_clip", counted_load)
    monkeypatch.setattr(media, "iterate_frames", counted_iterate)
    hook = model.parts.tower.register_forward_hook(counted_tower)
    yield counts
    hook.remove()


def same_answer(one, other):
    keys = ("text", "question", "evidence", "patch_count", "token_count", "window", "stopped")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def test_a_second_question_touches_neither_decoder_nor_tower(film, model, work):
    session = Session.open([film], model)
    assert work == {"decoded": 1, "encoded": 1}
    first = session.ask(QUESTION, generation=SHORT)
    second = session.ask("where is the star?", generation=SHORT)
    session.relevance("the star")
    session.ask(QUESTION, pooling=PoolingChoice(weighting="max"), generation=SHORT)
    assert work == {"decoded": 1, "encoded": 1}
    assert first.question != second.question
    assert first.timings.decode_seconds > 0
    assert first.timings.encode_seconds > 0
    assert first.timings.generate_seconds > 0


def test_an_answer_says_what_it_rests_on(session):
    answer = session.ask(QUESTION, generation=SHORT)
    assert answer.question == QUESTION
    assert answer.patch_count == 4 * 6 * 6
    assert answer.token_count == 2 * 3 * 3
    assert answer.window == ((2, 2, 2), (2, 2, 2))
    assert answer.weighting == "literal"
    assert 0 < answer.text_token_count <= 10
    assert answer.stopped == ("length" if answer.text_token_count == 10 else "end")
    assert answer.text == answer.text.strip()
    assert answer.evidence == session.evidence(session.relevance(QUESTION))
    moment = answer.evidence[0]
    assert 0.0 <= moment.start_seconds < moment.stop_seconds <= 3.0
    assert 0.0 < moment.share <= 1.0


def test_the_same_question_gets_the_same_answer(session, film, model):
    first = session.ask(QUESTION, generation=SHORT)
    assert same_answer(first, session.ask(QUESTION, generation=SHORT))
    assert same_answer(first, Session.open([film], model).ask(QUESTION, generation=SHORT))
    drawn = Generation(max_new_tokens=10, temperature=3.0, seed=5)
    assert same_answer(
        session.ask(QUESTION, generation=drawn), session.ask(QUESTION, generation=drawn)
    )
    other = Generation(max_new_tokens=10, temperature=3.0, seed=6)
    assert (
        session.ask(QUESTION, generation=drawn).text != session.ask(QUESTION, generation=other).text
    )


def test_pieces_of_a_stream_are_the_answer(session):
    stream = session.stream(QUESTION, generation=SHORT)
    with pytest.raises(RuntimeError, match="still being written"):
        _ = stream.answer
    said = "".join(stream)
    assert said.strip() == stream.answer.text
    assert stream.answer.text == session.ask(QUESTION, generation=SHORT).text


def test_a_stopped_stream_ends_after_the_token_at_hand(session):
    whole = session.ask(QUESTION, generation=SHORT)
    assert whole.text_token_count > 3
    stream = session.stream(QUESTION, generation=SHORT)
    said = ""
    for piece in stream:
        said += piece
        stream.stop()
    assert stream.answer.stopped == "interrupted"
    assert stream.answer.text_token_count < whole.text_token_count
    assert whole.text.startswith(stream.answer.text)
    assert stream.answer.text == said.strip()


def test_a_stream_may_be_stopped_before_its_first_piece(session):
    stream = session.stream(QUESTION, generation=SHORT)
    stream.stop()
    list(stream)
    assert stream.answer.stopped == "interrupted"
    assert stream.answer.text_token_count <= 1


@pytest.mark.parametrize("question", ["", "  ", "\n\t"])
def test_an_empty_question_is_refused(session, question):
    with pytest.raises(UsageError, match="question is empty"):
        session.ask(question)


def test_the_cache_gives_the_same_answer_bit_for_bit(film, model, tmp_path, work):
    cache = FeatureCache(tmp_path / "cache")
    first = Session.open([film], model, cache=cache)
    again = Session.open([film], model, cache=FeatureCache(tmp_path / "cache"))
    assert (first.from_cache, again.from_cache) == (False, True)
    assert work == {"decoded": 1, "encoded": 1}
    assert torch.equal(first.grid.features, again.grid.features)
    assert (first.grid.seconds == again.grid.seconds).all()
    assert first.source == again.source
    assert torch.equal(first.relevance(QUESTION).weights, again.relevance(QUESTION).weights)
    assert same_answer(first.ask(QUESTION, generation=SHORT), again.ask(QUESTION, generation=SHORT))
    assert again.timings.decode_seconds == again.timings.encode_seconds == 0.0


def test_without_a_cache_nothing_is_from_one(film, model):
    assert not Session.open([film], model).from_cache


def test_a_changed_file_gets_a_new_grid(model, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    film = write_clip(tmp_path / "film.mp4", seed=2)
    before = Session.open([film], model, cache=cache)
    write_clip(film, seed=3)
    after = Session.open([film], model, cache=cache)
    assert not after.from_cache
    assert not torch.equal(before.grid.features, after.grid.features)


def test_another_sampling_or_model_gets_a_new_grid(film, model, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    Session.open([film], model, cache=cache)
    fewer = Session.open([film], model, sampling=Sampling(num_frames=3), cache=cache)
    assert not fewer.from_cache
    assert fewer.grid_size == (3, 6, 6)
    assert not Session.open([film], small_model(seed=7), cache=cache).from_cache
    named = Session.open([film], model, sampling=Sampling(num_frames=4), cache=cache)
    assert named.from_cache


def test_a_damaged_entry_is_computed_anew(film, model, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    first = Session.open([film], model, cache=cache)
    for entry in (tmp_path / "cache").glob("*.safetensors"):
        data = bytearray(entry.read_bytes())
        data[-9] ^= 255
        entry.write_bytes(data)
    again = Session.open([film], model, cache=cache)
    assert not again.from_cache
    assert torch.equal(first.grid.features, again.grid.features)


def test_the_frames_are_at_hand_or_read_again(film, model, tmp_path, work):
    cache = FeatureCache(tmp_path / "cache")
    first = Session.open([film], model, cache=cache)
    clip = first.clip()
    assert clip.frames.shape == (4, 48, 48, 3)
    assert work["decoded"] == 1
    again = Session.open([film], model, cache=cache)
    reread = again.clip()
    assert work["decoded"] == 2
    assert (reread.frames == clip.frames).all()
    assert (reread.seconds == clip.seconds).all()
    again.clip()
    assert work["decoded"] == 2


def test_progress_is_reported_for_frames(film, model):
    calls = []
    Session.open([film], model, progress=lambda done, total: calls.append((done, total)))
    assert (4, 4) in calls
    assert all(done <= total == 4 for done, total in calls)


def test_what_cannot_be_read_is_refused(model, tmp_path):
    (tmp_path / "text.mp4").write_text("no film at all")
    for cache in (None, FeatureCache(tmp_path / "cache")):
        with pytest.raises(InputError):
            Session.open([tmp_path / "text.mp4"], model, cache=cache)
        with pytest.raises(InputError):
            Session.open([tmp_path / "absent.mp4"], model, cache=cache)


def test_windows_are_the_models_or_the_askers(session):
    assert session.window_for(PoolingChoice()) == Window((2, 2, 2))
    chosen = Window((1, 3, 2))
    assert session.window_for(PoolingChoice(window=chosen)) == chosen
    assert session.token_count(PoolingChoice(window=chosen)) == 4 * 2 * 3
    assert session.window_for(PoolingChoice(weighting="none")) is None
    assert session.token_count(PoolingChoice(weighting="none")) == 4 * 6 * 6
    with pytest.raises(ShapeError):
        session.window_for(PoolingChoice(window=Window((5, 1, 1))))


@pytest.mark.parametrize("weighting", [None, "none", "average"])
@pytest.mark.parametrize("window", [None, Window((1, 3, 2))])
def test_a_list_comes_on_top_of_what_is_pooled(film, model, weighting, window):
    told = {"tells_average": True, "tells_count": True, "tells_list": True}
    session = Session.open([film], small_model(seed=6, **told))
    choice = PoolingChoice(weighting=weighting, window=None if weighting == "none" else window)
    read = []
    session.model.parts.things.register_forward_hook(lambda *_: read.append(1))
    answer = session.ask(QUESTION, pooling=choice, generation=SHORT)
    plain = Session.open([film], model).ask(QUESTION, pooling=choice, generation=SHORT)
    assert answer.token_count == session.token_count(choice) == plain.token_count
    assert same_answer(session.ask(QUESTION, pooling=choice, generation=SHORT), answer)
    assert read == [1]  # what patches hold does not depend on the question


@pytest.mark.parametrize("budget", [1, 5, 17, 18, 40, 1000])
def test_a_budget_is_kept(session, budget):
    choice = PoolingChoice(max_tokens=budget)
    assert 1 <= session.token_count(choice) <= budget
    answer = session.ask(QUESTION, pooling=choice, generation=Generation(max_new_tokens=2))
    assert answer.token_count == session.token_count(choice)
    if budget >= 18:
        assert answer.token_count == 18


def test_every_patch_can_be_passed(session):
    choice = PoolingChoice(weighting="none")
    answer = session.ask(QUESTION, pooling=choice, generation=SHORT)
    assert answer.token_count == answer.patch_count == 144
    assert answer.window is None
    assert answer.weighting == "none"


def test_choices_that_contradict_are_refused():
    with pytest.raises(UsageError, match="exclude each other"):
        PoolingChoice(window=Window((1, 1, 1)), max_tokens=5)
    with pytest.raises(UsageError, match="at least 1"):
        PoolingChoice(max_tokens=0)


def test_an_unknown_weighting_is_refused(session):
    with pytest.raises(UsageError, match="unknown weighting"):
        session.ask(QUESTION, pooling=PoolingChoice(weighting="guess"))


def test_another_weighting_than_the_trained_one_is_doubted(session):
    assert session.warning_for(PoolingChoice()) is None
    assert session.warning_for(PoolingChoice(weighting="literal")) is None
    warning = session.warning_for(PoolingChoice(weighting="average"))
    assert "'literal'" in warning
    assert "'average'" in warning


def prompt_ids_used(session, monkeypatch, **options):
    """Return the ids that the language model was asked with."""
    used = []
    original = session.model.prompt_embeddings

    def spy(tokens, ids, block_sizes):
        used.append(ids[0].tolist())
        return original(tokens, ids, block_sizes)

    monkeypatch.setattr(session.model, "prompt_embeddings", spy)
    session.ask(QUESTION, **options)
    return used[0]


def turns(count, words=10):
    return [Turn(question=f"q{n} " * words, answer=f"a{n} " * words) for n in range(count)]


def test_earlier_turns_are_put_before_the_question(session, monkeypatch):
    history = turns(2)
    ids = prompt_ids_used(session, monkeypatch, generation=SHORT, history=history)
    pairs = [(turn.question, turn.answer) for turn in history]
    assert ids == session.model.prompt_ids(QUESTION, pairs)
    guide = " ".join([*(turn.question for turn in history), QUESTION])
    guided = session.ask(QUESTION, generation=SHORT, guide=guide)
    talked = session.ask(QUESTION, generation=SHORT, history=history)
    assert talked.guide == guide
    assert talked.evidence == guided.evidence


def test_a_guide_leaves_out_the_oldest_questions_and_never_cuts_the_last(session):
    history = [Turn(question="the " * 20 + f"{n}?", answer="a") for n in range(4)]
    answer = session.ask(QUESTION, generation=SHORT, history=history)
    assert answer.guide.endswith(f"3? {QUESTION}")
    assert " 0?" not in answer.guide
    longest = session.model.aligner.context_length
    ids, _ = session.model.words.alignment_ids([answer.guide], longest + 50)
    assert ids.shape[1] <= longest


def test_the_oldest_turns_go_when_not_all_fit(session, monkeypatch):
    history = turns(30)
    ids = prompt_ids_used(session, monkeypatch, generation=SHORT, history=history)
    model = session.model
    kept = [n for n in range(31) if ids == model.prompt_ids(
        QUESTION, [(turn.question, turn.answer) for turn in history[n:]]
    )]  # fmt: skip
    assert len(kept) == 1
    assert 0 < kept[0] < 30
    room = model.context_length - 18 + 1 - SHORT.max_new_tokens
    assert len(ids) <= room
    one_more = [(turn.question, turn.answer) for turn in history[kept[0] - 1 :]]
    assert len(model.prompt_ids(QUESTION, one_more)) > room


def test_a_question_that_does_not_fit_is_refused(session):
    with pytest.raises(UsageError, match="512 positions") as caught:
        session.ask("why? " * 600)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="600 of the answer"):
        session.ask(QUESTION, generation=Generation(max_new_tokens=600))


def test_a_stream_refuses_before_it_is_read(session):
    with pytest.raises(UsageError):
        session.stream("why? " * 600)


def test_pictures_use_the_window_for_pictures(model, tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (60, 40), (80 * number, 40, 40)).save(path)
    one = Session.open(paths[:1], model)
    assert one.grid_size == (1, 6, 6)
    assert one.window_for(PoolingChoice()) == Window((1, 2, 2))
    answer = one.ask(QUESTION, generation=SHORT)
    assert answer.token_count == 9
    several = Session.open(paths, model)
    assert several.grid_size == (3, 6, 6)
    assert several.window_for(PoolingChoice()) == Window((1, 2, 2))
    assert several.ask(QUESTION, generation=SHORT).token_count == 27
    assert one.clip().frames.shape == (1, 48, 48, 3)


def test_a_film_of_one_frame_has_a_window_that_fits(film, model):
    session = Session.open([film], model, sampling=Sampling(num_frames=1))
    assert session.window_for(PoolingChoice()) == Window((1, 2, 2))
    assert session.ask(QUESTION, generation=SHORT).token_count == 9


def test_a_range_keeps_the_films_own_clock(film, model):
    sampling = Sampling(num_frames=4, start_seconds=1.0, stop_seconds=2.0)
    session = Session.open([film], model, sampling=sampling)
    assert (session.grid.seconds >= 1.0).all()
    assert (session.grid.seconds < 2.0).all()
    for moment in session.ask(QUESTION, generation=SHORT).evidence:
        assert moment.start_seconds >= 1.0
        assert moment.stop_seconds <= 2.0


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_too(film, dtype, lists, tmp_path):
    told = {"tells_average": lists, "tells_count": lists, "tells_list": lists}
    half = small_model(seed=6, **told).to(dtype)
    cache = FeatureCache(tmp_path)
    first = Session.open([film], half, cache=cache)
    again = Session.open([film], half, cache=cache)
    assert again.from_cache
    assert again.grid.features.dtype == dtype
    for weighting in ("literal", "window", "authors", "average", "max", "none"):
        choice = PoolingChoice(weighting=weighting)
        answers = [s.ask(QUESTION, pooling=choice, generation=SHORT) for s in (first, again)]
        assert same_answer(*answers)
    assert float(first.relevance(QUESTION).weights.sum()) == pytest.approx(1.0, abs=1e-4)


def test_nothing_of_a_session_keeps_gradients(session):
    relevance = session.relevance(QUESTION)
    assert not relevance.weights.requires_grad
    assert not session.grid.features.requires_grad
