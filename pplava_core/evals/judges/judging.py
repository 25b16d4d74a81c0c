"""Having a judge read all answers of a run: many at once, each kept as soon as it is known.

What a benchmark wants judged comes as requests; verdicts go into the predictions. A line
for each stands in a file before the next is awaited, so a run that is broken off goes on
where it was. Knows no endpoint and no prompt.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pplava_core.evals.base import Benchmark, Item, Prediction, Settings
from pplava_core.evals.judges.judge import Judge, NotJudgedError
from pplava_core.evals.judges.judge_prompts import PromptSet, our_prompts
from pplava_core.evals.judges.judge_replies import read_verdict
from pplava_core.evals.runs.predictions import PredictionLog, read_predictions

FILE_NAME = "judgements.jsonl"
"In a run's folder."

RETRIES = 3
"How often a judge whose reply cannot be read is asked once more."

FAILURES_IN_A_ROW = 10
"Requests without a reply, after which no more are sent; single texts may be refused for ever."


@dataclass(frozen=True, kw_only=True)
class JudgeRequest:
    """One opinion that a benchmark wants."""

    item_id: str
    "Whose prediction the verdict goes to."
    aspect: str
    fields: Mapping[str, str]
    "What `JudgePrompt.messages` fills in."


@dataclass(kw_only=True)
class JudgingOutcome:
    """What became of the requests, for those who show it."""

    judged: int = 0
    noted: int = 0
    "Of those judged: taken from the log of an earlier run."
    unparseable: int = 0
    "Of those judged: replies that could not be read after all retries."
    failures: list[str] = field(default_factory=list)
    "Why requests got no reply at all; they are asked again by the next run."


class JudgedBenchmark(Benchmark):
    """A benchmark whose answers a language model has to read."""

    @abstractmethod
    def judge_requests(
        self, items: Sequence[Item], predictions: Mapping[str, Prediction], settings: Settings
    ) -> list[JudgeRequest]:
        """Say what has to be judged; answers that are errors need no judge."""


def judge_predictions(
    benchmark: JudgedBenchmark,
    items: Sequence[Item],
    predictions: Mapping[str, Prediction],
    judge: Judge,
    settings: Settings,
    *,
    log: Path | None = None,
    prompts: PromptSet | None = None,
    retries: int = RETRIES,
    progress: Callable[[int, int], None] | None = None,
    outcome: JudgingOutcome | None = None,
) -> dict[str, Prediction]:
    """Have every answer judged, and return the predictions with the verdicts.

    Must not be called from a running event loop.

    Args:
        benchmark: what has to be judged, and under which protocol replies are read.
        items: the questions of the run.
        predictions: their answers by id.
        judge: who is asked; its usage tells what that cost.
        settings: for the protocol.
        log: file that judgements are appended to and taken from; None keeps none.
        prompts: None is this project's wording.
        retries: how often to ask again after a reply that cannot be read.
        progress: called with requests done and in all.
        outcome: filled with what became of the requests, even where an error ends this.

    Returns:
        All predictions; ``details["judge"]`` of those judged holds, by aspect, `reply`,
        `pred`, `score`, `how`, `attempts`, `model` and `prompt`.

    Raises:
        ModelError: the endpoint refuses, or `FAILURES_IN_A_ROW` requests got no reply, or
            nothing is judged at all. What is judged is in the log and in the judge's memory.
        InputError: the log is damaged.
        OutputError: a judgement cannot be kept.
    """
    prompts = prompts or our_prompts(settings.protocol)
    outcome = JudgingOutcome() if outcome is None else outcome
    requests: dict[str, list[JudgeRequest]] = defaultdict(list)
    for request in benchmark.judge_requests(items, predictions, settings):
        messages = prompts.prompts[request.aspect].messages(request.fields)
        requests[f"{request.aspect} {judge.content_key(messages)}"].append(request)
    with ExitStack() as stack:
        known = {} if log is None or not log.exists() else read_predictions(log)
        kept = None if log is None else stack.enter_context(PredictionLog(log))
        work = _Judging(
            judge=judge,
            prompts=prompts,
            protocol=settings.protocol,
            retries=retries,
            requests=requests,
            known=known,
            log=kept,
            progress=progress,
            outcome=outcome,
        )
        asyncio.run(work.run())
    return _with_verdicts(predictions, requests, work.found, judge.model, prompts, settings)


@dataclass(frozen=True, kw_only=True)
class _Judging:
    """The shared state of the workers; requests by key, those alike asked once."""

    judge: Judge
    prompts: PromptSet
    protocol: str
    retries: int
    requests: Mapping[str, list[JudgeRequest]]
    known: Mapping[str, Prediction]
    log: PredictionLog | None
    progress: Callable[[int, int], None] | None
    outcome: JudgingOutcome
    found: dict[str, Prediction] = field(default_factory=dict)
    failures_in_a_row: list[NotJudgedError] = field(default_factory=list)

    async def run(self) -> None:
        waiting = []
        for key, alike in self.requests.items():
            line = self.known.get(key)
            if line is not None and self._settled(alike[0].aspect, line):
                self._take(key, line)
                self.outcome.noted += len(alike)
            else:
                waiting.append(key)
        if not waiting:
            return
        queue = iter(waiting)
        async with self.judge:
            await asyncio.gather(*(self._work(queue) for _ in range(self.judge.concurrency)))
        if not self.found:
            raise self.failures_in_a_row[-1]

    async def _work(self, queue: Iterator[str]) -> None:
        for key in queue:
            try:
                line = await self._judge(key, self.requests[key][0])
            except NotJudgedError as error:
                self.outcome.failures.append(str(error))
                self.failures_in_a_row.append(error)
                hopeless = not (self.found and error.refused)
                if hopeless and len(self.failures_in_a_row) >= FAILURES_IN_A_ROW:
                    raise
                continue
            self.failures_in_a_row.clear()
            if self.log is not None:
                self.log.append(line)
            self._take(key, line)

    async def _judge(self, key: str, request: JudgeRequest) -> Prediction:
        """Ask until a reply can be read or the retries are used up."""
        messages = self.prompts.prompts[request.aspect].messages(request.fields)
        for attempt in range(self.retries + 1):
            reply = await self.judge.ask(messages, attempt=attempt)
            line = Prediction(
                id=key,
                text=reply.text,
                details={"item": request.item_id, "attempts": attempt + 1},
            )
            if self._settled(request.aspect, line):
                break
        return line

    def _settled(self, aspect: str, line: Prediction) -> bool:
        """Tell whether asking again is pointless: a reply is read, or all tries are used up."""
        verdict = read_verdict(aspect, line.text, self.protocol)
        tried = int(line.details.get("attempts", 1))
        return verdict.how != "unparseable" or self.protocol == "lmms" or tried > self.retries

    def _take(self, key: str, line: Prediction) -> None:
        alike = self.requests[key]
        self.found[key] = line
        self.outcome.judged += len(alike)
        if read_verdict(alike[0].aspect, line.text, self.protocol).how == "unparseable":
            self.outcome.unparseable += len(alike)
        if self.progress is not None:
            self.progress(len(self.found), len(self.requests))


def _with_verdicts(
    predictions: Mapping[str, Prediction],
    requests: Mapping[str, list[JudgeRequest]],
    found: Mapping[str, Prediction],
    model: str,
    prompts: PromptSet,
    settings: Settings,
) -> dict[str, Prediction]:
    verdicts: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, line in found.items():
        for request in requests[key]:
            verdict = read_verdict(request.aspect, line.text, settings.protocol)
            verdicts[request.item_id][request.aspect] = {
                "reply": line.text,
                "pred": verdict.pred,
                "score": verdict.score,
                "how": verdict.how,
                "attempts": line.details.get("attempts", 1),
                "model": model,
                "prompt": prompts.name,
            }
    return {
        name: replace(one, details={**one.details, "judge": verdicts[name]})
        if name in verdicts
        else one
        for name, one in predictions.items()
    }
