"""From ids to text piece by piece: characters of several tokens, blanks, stop strings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_tokenizer
from small_tokenizers import CONTROL, byte_level, llama_style

from pplava_core.models.language.text_pieces import TextPieces, has_stop

TOKENIZERS = {"nano": small_tokenizer, "llama": llama_style, "bytes": byte_level}
LINES = (
    "a red circle moves to the left of the blue square.",
    "né, ø and 日本語",
    "日本語の映画を見た。とても良かった。",
    "a 🟥 b 👩‍👩‍👧 c 🇨🇭",
    "  two blanks,  then\n\nlines\tand tabs \n",
    "the end of the film",
    "x日y",
    "�",
)


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def shown(decode, ids, *, stop=()):
    """Feed ids until they are used up or a stop string was written; return pieces and rest."""
    pieces = TextPieces(decode, stop=stop)
    said = []
    for token_id in ids:
        said.append(pieces.add(token_id))
        if pieces.stopped:
            break
    rest = pieces.finish()
    assert "".join(said) + rest == pieces.text
    assert pieces.finish() == ""
    return said, rest, pieces


def cut_at(decode, ids, stop):
    """Say what should be shown, from whole texts only."""
    for count in range(1, len(ids) + 1):
        text = decode(ids[:count])
        if not text.endswith("\ufffd") and any(string in text for string in stop):
            return text[: min(text.find(s) for s in stop if s in text)].strip()
    text = decode(ids)
    places = [text.find(string) for string in stop if string in text]
    return text[: min(places, default=len(text))].strip()


@pytest.mark.parametrize("text", LINES)
def test_pieces_add_up_to_the_text(tokenizer, text):
    ids = ids_of(tokenizer, text)
    said, rest, pieces = shown(tokenizer.decode, ids)
    assert pieces.text == tokenizer.decode(ids).strip()
    assert pieces.ids == ids
    if text != "�":
        assert rest == ""
        assert "\ufffd" not in "".join(said)


@pytest.mark.parametrize("text", LINES)
@pytest.mark.parametrize("name", ["llama", "bytes"])
def test_tokenizers_of_transformers_do_too(name, text):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZERS[name](), bos_token="<s>", eos_token="</s>"
    )
    ids = [tokenizer.bos_token_id, *tokenizer.encode(text), tokenizer.eos_token_id]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    _, _, pieces = shown(lambda ids: tokenizer.decode(ids, skip_special_tokens=True), ids)
    assert pieces.text == text.strip()


@pytest.mark.parametrize("text", ["日本語の", "a🟥b🇨🇭c", "ø"])
def test_characters_of_several_tokens_come_out_whole_and_at_once(tokenizer, text):
    ids = ids_of(tokenizer, text)
    said, _, _ = shown(tokenizer.decode, ids)
    so_far = ""
    for count, piece in enumerate(said, start=1):
        so_far += piece
        whole = tokenizer.decode(ids[:count]).strip()
        if not whole.endswith("\ufffd"):
            assert so_far == whole
    assert len(ids) > len([piece for piece in said if piece])


def test_words_are_shown_without_delay(tokenizer):
    ids = ids_of(tokenizer, "the red circle moves to the left of the blue square")
    pieces = TextPieces(tokenizer.decode)
    for count, token_id in enumerate(ids, start=1):
        pieces.add(token_id)
        assert pieces.text == tokenizer.decode(ids[:count]).strip()


@pytest.mark.parametrize("text", ["ok 日", "日本🟥"])
def test_a_character_that_never_ends_is_shown_at_the_end(tokenizer, text):
    ids = ids_of(tokenizer, text)[:-1]
    _, rest, pieces = shown(tokenizer.decode, ids)
    assert rest.strip("\ufffd ") == ""
    assert rest.endswith("\ufffd")
    assert pieces.text.startswith(text[:-1].strip())  # what was shown stays


def test_control_tokens_are_not_text_and_cost_no_blank(tokenizer):
    control = [tokenizer.token_to_id(t) for t in (*CONTROL, "<user>") if tokenizer.token_to_id(t)]
    words = ids_of(tokenizer, "the red circle")
    ids = [*control * 40, words[0], *control * 40, *words[1:], *control]
    _, _, pieces = shown(tokenizer.decode, ids)
    assert pieces.text == tokenizer.decode(words).strip() == "the red circle"


class Counter:
    """Counts what a decoder is asked to decode."""

    def __init__(self, decode):
        self.decode, self.ids = decode, 0

    def __call__(self, ids):
        self.ids += len(ids)
        return self.decode(ids)


@pytest.mark.parametrize("stop", [(), ("\n\nUSER:", "blue circle")])
def test_long_answers_cost_no_more_per_word(tokenizer, stop):
    text = "the red circle moves. 日本語 🟥\n\nnew lines,  blanks and the end " * 60
    ids = ids_of(tokenizer, text)
    decode = Counter(tokenizer.decode)
    _, _, pieces = shown(decode, ids, stop=stop)
    assert pieces.text == tokenizer.decode(ids).strip()
    assert len(ids) > 1000
    assert decode.ids < 50 * len(ids)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*TOKENIZERS]),
    texts=st.lists(st.sampled_from(LINES) | st.text(max_size=12), max_size=12),
)
def test_whatever_is_written_comes_out_as_it_would_in_one_piece(name, texts):
    tokenizer = TOKENIZERS[name]()
    ids = ids_of(tokenizer, "".join(texts))
    assert shown(tokenizer.decode, ids)[2].text == tokenizer.decode(ids).strip()


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(["nano", "bytes"]), ids=st.lists(st.integers(0, 319), max_size=90))
def test_any_bytes_at_all_come_out_as_they_would_in_one_piece(name, ids):
    tokenizer = TOKENIZERS[name]()
    assert shown(tokenizer.decode, ids)[2].text == tokenizer.decode(ids).strip()


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(st.integers(0, 408), max_size=90))
def test_bytes_that_are_no_text_spoil_none_of_what_is(ids):
    tokenizer = llama_style()
    bytes_of = {tokenizer.token_to_id(f"<0x{value:02X}>") for value in range(256)}
    _, _, pieces = shown(tokenizer.decode, ids)
    if not bytes_of & set(ids):
        assert pieces.text == tokenizer.decode(ids).strip()
    words = [one for one in ids if one not in bytes_of]
    without = "".join(tokenizer.decode(words).split())
    found = iter(pieces.text)
    assert all(character in found for character in without)


STOPS = [
    ("USER:",),
    ("\n",),
    ("\n\n", "film"),
    ("the blue square", "e b"),
    ("日本語の",),
    ("本",),
    ("🇨🇭",),
    (" ",),
    ("zzz", "aab", "the the the end"),
]


@pytest.mark.parametrize("stop", STOPS, ids=repr)
@pytest.mark.parametrize("text", LINES)
def test_a_stop_string_cuts_the_text_before_it(tokenizer, text, stop):
    ids = ids_of(tokenizer, text)
    _, _, pieces = shown(tokenizer.decode, ids, stop=stop)
    assert pieces.text == cut_at(tokenizer.decode, ids, stop)
    assert pieces.stopped == any(string in tokenizer.decode(ids) for string in stop)
    assert has_stop(ids[: len(pieces.ids)], tokenizer.decode, stop) == pieces.stopped


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([*TOKENIZERS]),
    text=st.text("ab\n 日", max_size=70),
    stop=st.lists(st.text("ab\n 日", min_size=1, max_size=5), min_size=1, max_size=3),
)
def test_stop_strings_of_any_shape_are_never_shown(name, text, stop):
    tokenizer = TOKENIZERS[name]()
    ids = ids_of(tokenizer, text)
    _, _, pieces = shown(tokenizer.decode, ids, stop=stop)
    assert pieces.text == cut_at(tokenizer.decode, ids, stop)
    assert pieces.stopped == any(string in tokenizer.decode(ids) for string in stop)


def test_what_may_be_the_beginning_of_a_stop_string_is_held_back():
    pieces = TextPieces(lambda ids: "".join(map(chr, ids)), stop=("stop", "tap"))
    said = [pieces.add(ord(letter)) for letter in "a st sto tatap"]
    assert said == ["a", "", "", "", " st", "", "", "", " sto", "", "", " ta", "", ""]
    assert pieces.stopped
    assert pieces.finish() == ""
    assert pieces.text == "a st sto ta"


def test_the_beginning_of_a_stop_string_is_shown_when_nothing_follows():
    pieces = TextPieces(lambda ids: "".join(map(chr, ids)), stop=("stop",))
    assert "".join(pieces.add(ord(letter)) for letter in "do sto") == "do"
    assert pieces.finish() == " sto"
    assert not pieces.stopped


def test_nothing_comes_after_a_stop_string():
    pieces = TextPieces(lambda ids: "".join(map(chr, ids)), stop=("x",))
    assert "".join(pieces.add(ord(letter)) for letter in "abxcdx") == "ab"
    assert pieces.finish() == ""
    assert pieces.text == "ab"


def test_a_stop_string_far_back_is_not_asked_for_again():
    decode = Counter(lambda ids: "".join(map(chr, ids)))
    ids = list(map(ord, "stop" + "a" * 900 + "stop"))
    assert has_stop(ids, decode, ("stop",))
    assert not has_stop(ids[:500], decode, ("stop",))
    assert not has_stop(ids, decode, ())
    assert decode.ids < 50
