"""Runs held against each other: the tests, the flips, the picture, the ablation's one table."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from eval_fakes import Noise, write_noise
from PIL import Image
from small_models import small_model

from pplava_core.errors import InputError, UsageError
from pplava_core.evals.base import Settings
from pplava_core.evals.results import ablate as ablation
from pplava_core.evals.results.compare import (
    bootstrap_interval,
    compare_pair,
    compare_runs,
    mcnemar,
    read_run,
    side_by_side,
)
from pplava_core.evals.results.plots import plot_runs
from pplava_core.evals.runs.job import Job, run_job
from pplava_core.evals.runs.running import Work
from pplava_core.evals.runs.selection import Selection
from pplava_core.session import PoolingChoice
from pplava_core.window import Window


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


def job_in(folder, data, model, **changes):
    work = Work(benchmark=Noise(), settings=Settings(), model=model, workers=0, **changes)
    items = work.benchmark.items(data, work.settings)
    return Job(work=work, items=items, selection=Selection(), folder=folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data, model):
    """Two real runs that differ in their kernel."""
    folder = tmp_path_factory.mktemp("runs")
    for name, kernel in (("small", (1, 2, 2)), ("large", (4, 6, 6))):
        pooling = PoolingChoice(window=Window(kernel))
        run_job(job_in(folder / name, data, model, pooling=pooling))
    return [folder / "small", folder / "large"]


def test_mcnemar_counts_the_tosses_that_are_as_uneven():
    for count in range(11):
        heads = [sum(tosses) for tosses in itertools.product((0, 1), repeat=count)]
        for better in range(count + 1):
            distance = abs(2 * better - count)
            as_uneven = sum(abs(2 * one - count) >= distance for one in heads) / len(heads)
            assert mcnemar(better, count - better) == pytest.approx(as_uneven, rel=1e-12)
    # As statistics programs give it for 1500 of 2700 tosses.
    assert mcnemar(1500, 1200) == pytest.approx(8.412e-9, rel=1e-3)


def test_the_bootstrap_draws_videos_and_not_questions():
    draw = np.random.default_rng(0)
    videos = [f"video {number}" for number in range(40) for _ in range(10)]
    alike = np.repeat(draw.normal(size=40), 10)
    low, high = bootstrap_interval(alike, videos, seed=1)
    naive_low, naive_high = bootstrap_interval(alike, [str(n) for n in range(400)], seed=1)
    assert (high - low) > 2.5 * (naive_high - naive_low)
    assert low < alike.mean() < high
    standard_error = np.repeat(draw.normal(size=40), 1).std() / np.sqrt(40)
    assert (high - low) == pytest.approx(2 * 1.96 * standard_error, rel=0.5)
    assert (low, high) == bootstrap_interval(alike, videos, seed=1)
    assert (low, high) != bootstrap_interval(alike, videos, seed=2)
    assert bootstrap_interval(np.zeros(3), ["a", "b", "b"]) == (0.0, 0.0)


def test_two_runs_are_compared_question_by_question(runs):
    first, second = map(read_run, runs)
    (pair,) = compare_runs([first, second])
    points = [
        (first.questions[name]["points"], second.questions[name]["points"])
        for name in first.questions
    ]
    assert pair.common == len(points) == 12
    assert pair.left_out == 0
    assert pair.better == sum(before < after for before, after in points)
    assert pair.worse == sum(before > after for before, after in points)
    assert pair.difference == pytest.approx(second.summary["value"] - first.summary["value"])
    assert pair.low <= pair.difference <= pair.high
    assert pair.p_value == mcnemar(pair.better, pair.worse)
    assert len(pair.flips) == pair.better + pair.worse
    for flip in pair.flips:
        assert flip.points_before != flip.points_after
        assert flip.before == first.questions[flip.id]["text"]
    itself = compare_pair(first, first)
    assert (itself.difference, itself.low, itself.high, itself.p_value) == (0, 0, 0, 1)
    (table,) = side_by_side([first, second])
    assert [row["name"] for row in table["rows"]] == ["loud", "soft", "odd"]
    assert [len(row["values"]) for row in table["rows"]] == [2] * 3


def with_questions(folder, source, change):
    folder.mkdir()
    (folder / "summary.json").write_bytes((source / "summary.json").read_bytes())
    records = [json.loads(line) for line in (source / "questions.jsonl").read_text().splitlines()]
    lines = [json.dumps(record) for record in change(records)]
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return read_run(folder)


def test_only_what_both_have_points_for_counts(runs, tmp_path):
    whole = read_run(runs[0])
    part = with_questions(tmp_path / "part", runs[0], lambda records: records[:7])
    assert compare_pair(whole, part).common == 7
    assert compare_pair(whole, part).left_out == 5
    unscored = with_questions(
        tmp_path / "unscored", runs[0], lambda records: [{**r, "points": None} for r in records]
    )
    with pytest.raises(UsageError, match="no scored question in common"):
        compare_pair(whole, unscored)
    graded = with_questions(
        tmp_path / "graded", runs[0], lambda records: [{**r, "points": 0.4} for r in records]
    )
    assert compare_pair(whole, graded).p_value is None


def test_what_cannot_be_compared_is_said(runs, tmp_path):
    run = read_run(runs[0])
    with pytest.raises(UsageError, match="at least two"):
        compare_runs([run])
    other = type(run)(
        name="x", summary={**run.summary, "benchmark": "other"}, questions=run.questions
    )
    with pytest.raises(UsageError, match="noise and other"):
        compare_runs([run, other])
    with pytest.raises(InputError, match="no results yet"):
        read_run(tmp_path)
    for text in ("{", "[1]", "null"):
        (tmp_path / "questions.jsonl").write_text("")
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(InputError, match="damaged"):
            read_run(tmp_path)


def test_the_command_shows_pairs_and_flips(run_pplava, runs, tmp_path):
    picture = tmp_path / "tokens.png"
    run = run_pplava("eval", "compare", *runs, "--plot", picture)
    assert run.code == 0, run.stderr
    assert run.stdout.splitlines()[0] == "Noise, accuracy"
    assert "small" in run.stdout
    assert "large" in run.stdout
    record = json.loads(run_pplava("eval", "compare", *runs, "--json").stdout)
    assert len(record["pairs"]) == 1
    assert [one["name"] for one in record["runs"]] == ["small", "large"]
    flipped = len(record["pairs"][0]["flips"])
    assert (f"{flipped} questions flipped" in run.stdout) == bool(flipped)
    assert Image.open(picture).size[0] > 500
    assert run_pplava("eval", "compare", runs[0]).code == 2
    assert run_pplava("eval", "compare", *runs, "--plot", tmp_path).code == 2
    assert run_pplava("eval", "compare", runs[0], tmp_path).code == 3


def test_a_picture_has_a_panel_a_size_that_differs(tmp_path, data, model):
    folders = []
    for kernel in ((1, 2, 2), (2, 2, 2), (2, 3, 3), (2, 1, 2)):
        pooling = PoolingChoice(window=Window(kernel))
        folders.append(tmp_path / "".join(map(str, kernel)))
        run_job(job_in(folders[-1], data, model, pooling=pooling))
    runs = [read_run(folder) for folder in folders]
    widths = {}
    for count in (1, 2, 4):
        plot_runs(runs[:count], tmp_path / f"{count}.png")
        widths[count] = Image.open(tmp_path / f"{count}.png").size[0]
    assert widths[1] < widths[2] < widths[4]
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="visual tokens"):
        plot_runs([], tmp_path / "none.png")


def test_an_ablation_is_one_job_of_many_runs(tmp_path, data, model):
    job = job_in(tmp_path / "all", data, model)
    variants = ablation.variants_of(
        model, weightings=("average", "max"), kernels=[Window((1, 2, 2)), Window((9, 9, 9))]
    )
    assert [variant.name for variant in variants] == [
        ablation.OWN,
        "average",
        "max",
        "1×2×2",
        "9×9×9",
        "77 positions",
    ]
    begun = []
    outcomes = ablation.ablate(job, variants, begin=begun.append)
    assert begun == variants
    assert [one.reason is None for one in outcomes] == [True] * 4 + [False, True]
    assert "9" in outcomes[4].reason
    asked = len(job.work.benchmark.seen_seconds)
    again = ablation.ablate(job, variants)
    # the one that fits nothing is tried once more, up to its prompt
    assert len(job.work.benchmark.seen_seconds) == asked + 1
    records = ablation.outcome_records(again, job.folder)
    assert records == ablation.outcome_records(outcomes, job.folder)
    assert records[0]["difference"] is None
    own = read_run(job.folder / records[0]["folder"])
    for record in records[1:4]:
        other = read_run(job.folder / record["folder"])
        assert record["difference"] == compare_pair(own, other).difference
        assert record["visual_tokens"] == other.visual_tokens
    ablation.write_outcomes(job.folder, records)
    with (job.folder / "ablation.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == [one.name for one in variants]


def test_the_aligner_reads_no_further_than_it_may(tmp_path, data, model):
    class Wordy(Noise):
        def prompt(self, item, settings, seconds=()):
            prompt = super().prompt(item, settings, seconds)
            return type(prompt)(query=prompt.query, guide=" ".join(map(str, range(40))))

    lengths = []
    embed = type(model.aligner).embed_text

    def watched(self, ids, mask=None):
        lengths.append(ids.shape[1])
        return embed(self, ids, mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.aligner), "embed_text", watched)
        for positions in (None, 9):
            work = Work(
                benchmark=Wordy(),
                settings=Settings(),
                model=model,
                workers=0,
                guide_positions=positions,
            )
            items = work.benchmark.items(data, work.settings)[:1]
            folder = tmp_path / str(positions)
            run_job(Job(work=work, items=items, selection=Selection(), folder=folder))
    assert max(lengths) > 9
    assert 9 in lengths
    assert model.aligner.context_length == 77


def test_the_whole_command_on_rendered_films(run_pplava, tmp_path):
    films = tmp_path / "films"
    assert run_pplava("shapes", "render", films, "--questions", 6, "--workers", 1).code == 0
    arguments = ("eval", "ablate", "shapes", "--data", films, "--limit", 3, "--frames", 4)
    arguments += ("--max-new-tokens", 2, "--workers", 0, "--device", "cpu", "-o", tmp_path / "out")
    arguments += ("--pooling", "average", "--kernel", "1,3,3", "--kernel", "9,3,3")
    run = run_pplava(*arguments, "--plot", tmp_path / "tokens.png")
    assert run.code == 0, run.stderr
    lines = run.stdout.splitlines()
    for name in (ablation.OWN, "average", "1×3×3", "77 positions"):
        assert any(name in line for line in lines)
    assert any("9×3×3" in line and "—" in line for line in lines)
    assert (tmp_path / "tokens.png").is_file()
    record = json.loads(run_pplava(*arguments, "--json", "--quiet").stdout)
    assert [one["kind"] for one in record["variants"]] == [
        "pooling",
        "pooling",
        "kernel",
        "kernel",
        "context",
    ]
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert folders == {one["folder"] for one in record["variants"]}
    assert Path(record["folder"]) == tmp_path / "out"
