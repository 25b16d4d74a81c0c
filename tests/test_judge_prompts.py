"""The wording of what judges are asked: complete, replaceable, and blind to what is filled in."""

from __future__ import annotations

import pytest

from pplava_core.errors import InputError, UsageError
from pplava_core.evals.base import PROTOCOLS
from pplava_core.evals.benchmarks.vcg_scores import ASPECTS
from pplava_core.evals.judges.judge_prompts import OUR_WORDING, our_prompts, read_prompts

FIELDS = {
    "question": "what costs $5?",
    "answer": "a {hat}",
    "prediction": "$answer \\1 %s",
    "question_2": "which thing has a price of $5?",
    "prediction_2": "none",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_aspect_has_the_shape_of_the_published_prompts(protocol):
    prompts = our_prompts(protocol)
    assert prompts.name == OUR_WORDING
    assert list(prompts.prompts) == ["match", *ASPECTS]
    for aspect, prompt in prompts.prompts.items():
        system, user = prompt.messages(FIELDS)
        assert (system["role"], user["role"]) == ("system", "user")
        assert "$" not in prompt.system
        places = [user["content"].index(FIELDS[name]) for name in FIELDS if name[-1] != "2"]
        assert places == sorted(places)
        assert "Python dictionary" in user["content"]
        assert ("'pred'" in user["content"]) == (aspect == "match")
        assert "'score'" in user["content"]
        assert (FIELDS["prediction_2"] in user["content"]) == (aspect == "consistency")


def test_ppllava_alone_gives_nothing_for_admitted_ignorance():
    theirs, ours = our_prompts("ppllava").prompts, our_prompts("official").prompts
    assert [aspect for aspect in ours if theirs[aspect] != ours[aspect]] == ["correctness"]
    assert "Give 0" in theirs["correctness"].system


def test_a_file_replaces_what_it_names(tmp_path):
    path = tmp_path / "published.toml"
    path.write_text('[match]\nsystem = "S"\nuser = "$$1: $question $answer ${prediction}"\n')
    prompts = read_prompts(path, "official")
    messages = prompts.prompts["match"].messages(FIELDS)
    assert messages[1]["content"] == "$1: what costs $5? a {hat} $answer \\1 %s"
    assert prompts.prompts["detail"] == our_prompts("official").prompts["detail"]
    assert prompts.name.startswith("published.toml ")
    path.write_text(path.read_text().replace('"S"', '"T"'))
    assert read_prompts(path, "official").name != prompts.name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[match", "not TOML"),
        ("\x00", "not TOML"),
        ('[taste]\nsystem = "S"\nuser = "U"', "no aspect 'taste'"),
        ('[match]\nsystem = "S"', "needs the texts"),
        ('[match]\nsystem = "S"\nuser = 3', "needs the texts"),
        ("match = 3", "needs the texts"),
        ('[match]\nsystem = "S"\nuser = "$5"', "write \\$\\$"),
        ('[match]\nsystem = "S"\nuser = "$question_2"', "\\$prediction, \\$question;"),
    ],
)
def test_files_that_make_no_sense(tmp_path, text, says):
    path = tmp_path / "prompts.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        read_prompts(path, "official")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_prompts(tmp_path / "none.toml", "official")
