"""Options of the benchmarks that need a judge, and the judging that they ask for.

The key is no option: it would stand in the shell's history and in every list of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pplava_cli.console import Output
from pplava_core.errors import UsageError

if TYPE_CHECKING:
    from pplava_core.evals.base import Benchmark, Item, Prediction, Settings
    from pplava_core.evals.judges.judge import Usage
    from pplava_core.evals.judges.judging import JudgingOutcome

    Judging = Callable[
        [Sequence[Item], Mapping[str, Prediction], Path | None], dict[str, Prediction]
    ]


def _option(flag: str, help: str, **more: Any) -> Any:
    return typer.Option(flag, help=help.replace("[", r"\["), rich_help_panel="Judge", **more)


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Who reads the answers of a benchmark that needs a judge; the key is in the environment."""

    judge_url: Annotated[
        str | None,
        _option(
            "--judge-url",
            "An OpenAI-compatible endpoint; its key is in PPLAVA_JUDGE_KEY or OPENAI_API_KEY.",
            metavar="URL",
        ),
    ] = None
    judge_model: Annotated[
        str | None,
        _option("--judge-model", "Model there [the protocol's].", metavar="NAME"),
    ] = None
    judge_prompt: Annotated[
        Path | None,
        _option(
            "--judge-prompt",
            "TOML file with the wording of what is asked, a table an aspect [our wording].",
            metavar="FILE",
        ),
    ] = None
    judge_concurrency: Annotated[
        int, _option("--judge-concurrency", "Requests at a time.", metavar="N", min=1, max=256)
    ] = 8
    judge_retries: Annotated[
        int,
        _option(
            "--judge-retries",
            "How often to ask again after a reply that cannot be read.",
            metavar="N",
            min=0,
        ),
    ] = 3
    judge_timeout: Annotated[
        float,
        _option(
            "--judge-timeout", "How long one reply may take, in seconds.", metavar="X", min=0.1
        ),
    ] = 60.0


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(EndpointOptions):
    """The same where a model may be asked first."""

    judge_only: Annotated[
        bool,
        _option("--judge-only", "Judge the answers that are in the -o folder; ask none."),
    ] = False


def open_judging(
    benchmark: Benchmark, settings: Settings, options: EndpointOptions, out: Output
) -> Judging | None:
    """Make what judges the answers of a run, or nothing where no judge was named.

    Nothing is sent yet, but what makes no sense is found here, before hours are spent.

    Returns:
        What takes questions, their answers and the folder whose log of judgements is read
        and continued (None keeps no log), and returns the predictions with the verdicts.

    Raises:
        UsageError: the benchmark needs no judge, or the options contradict each other.
        InputError: the file of prompts cannot be read.
    """
    if options.judge_url is None:
        _check_idle(options)
        return None
    from pplava_core.evals.judges.judge import DEFAULTS, Judge
    from pplava_core.evals.judges.judge_prompts import our_prompts, read_prompts
    from pplava_core.evals.judges.judging import (
        FILE_NAME,
        JudgedBenchmark,
        JudgingOutcome,
        judge_predictions,
    )

    if not isinstance(benchmark, JudgedBenchmark):
        raise UsageError(f"--judge-url: {benchmark.info.title} needs no judge; leave it out")
    defaults = DEFAULTS[settings.protocol]
    judge = Judge(
        options.judge_url,
        options.judge_model or defaults.model,
        concurrency=options.judge_concurrency,
        timeout_seconds=options.judge_timeout,
        temperature=defaults.temperature,
        max_tokens=defaults.max_tokens,
    )
    prompts = our_prompts(settings.protocol)
    if options.judge_prompt is not None:
        prompts = read_prompts(options.judge_prompt, settings.protocol)

    def judged(
        items: Sequence[Item], predictions: Mapping[str, Prediction], folder: Path | None
    ) -> dict[str, Prediction]:
        outcome = JudgingOutcome()
        try:
            with out.progress(f"Asking {judge.model}") as progress:
                return judge_predictions(
                    benchmark,
                    items,
                    predictions,
                    judge,
                    settings,
                    log=None if folder is None else folder / FILE_NAME,
                    prompts=prompts,
                    retries=options.judge_retries,
                    progress=progress,
                    outcome=outcome,
                )
        finally:
            _tell(judge.model, judge.usage, outcome, out)

    return judged


def _check_idle(options: EndpointOptions) -> None:
    """Refuse options that say how to judge where nobody is there to do it."""
    if isinstance(options, JudgeOptions) and options.judge_only:
        raise UsageError("--judge-only needs --judge-url: nobody is named who could judge")
    if options.judge_model is not None or options.judge_prompt is not None:
        raise UsageError("--judge-model and --judge-prompt need --judge-url: say where to ask")


def _tell(model: str, usage: Usage, outcome: JudgingOutcome, out: Output) -> None:
    """Say what the judge cost, also where it was broken off."""
    tokens = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"
    if usage.unmetered:
        tokens += f" and those of {usage.unmetered} replies that do not say"
    out.note(
        f"{model}: {outcome.judged} opinions, {outcome.noted} of them from an earlier run; "
        f"{usage.replies} replies asked for ({tokens}), {usage.remembered} remembered, "
        f"{outcome.unparseable} opinions unreadable"
    )
    if outcome.failures:
        out.warn(f"{len(outcome.failures)} requests got no reply, the last: {outcome.failures[-1]}")
