"""Writing an answer token by token. Knows prompts as embeddings, and neither video nor text.

The loop is pulled by whoever reads the words, so that an answer can be stopped between
two tokens and nothing is computed that nobody waits for. Which token comes next is decided
by transformers' own logits processors; a beam search is transformers' own too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pplava_core.models.language.generation_settings import Generation

Ended = Callable[[list[int]], bool]
"Told the ids of an answer so far; true ends it there."


@torch.inference_mode()
def generate_ids(
    llm: Any,
    embeddings: Tensor,
    *,
    settings: Generation,
    end_ids: Collection[int],
    ended: Ended | None = None,
) -> Iterator[int]:
    """Yield the ids of an answer, without the end mark.

    With one beam an id is computed when it is asked for; with more, all of them come at once
    when the search is over. ``settings.stop`` is text and so the caller's: see ``ended``.

    Args:
        llm: a language model of transformers, with or without a vision tower beside it.
        embeddings: ``(1, L, D)``: the whole prompt.
        settings: length, randomness, beams, penalty.
        end_ids: each of them stops the answer.
        ended: asked after every token, of every beam; true ends the answer.
    """
    if settings.beams > 1:
        yield from _search_beams(llm, embeddings, None, settings, end_ids, ended)[0]
        return
    writing = _Writing(llm, embeddings, None, settings)
    ids: list[int] = []
    for _ in range(settings.max_new_tokens):
        chosen = writing.step()[0]
        if chosen in end_ids:
            return
        ids.append(chosen)
        yield chosen
        if ended is not None and ended(ids):
            return


@torch.inference_mode()
def generate_batch(
    llm: Any,
    embeddings: Sequence[Tensor],
    *,
    settings: Generation,
    end_ids: Collection[int],
    ended: Ended | None = None,
) -> list[list[int]]:
    """Write the answers to several prompts together, each as it would be written alone.

    Shorter prompts are padded on the left and the padding is masked; every answer has its own
    random numbers from the one seed, so that no answer depends on its neighbours.

    Args:
        llm: as in `generate_ids`.
        embeddings: one ``(L, D)`` a prompt; lengths may differ.
        settings: as in `generate_ids`.
        end_ids: as in `generate_ids`.
        ended: as in `generate_ids`.

    Returns:
        The ids of each answer, without the end mark, in the order of the prompts.
    """
    if not embeddings:
        return []
    padded, mask = _pad_left(embeddings)
    if settings.beams > 1:
        return _search_beams(llm, padded, mask, settings, end_ids, ended)
    writing = _Writing(llm, padded, mask, settings)
    answers: list[list[int]] = [[] for _ in embeddings]
    numbers = list(range(len(answers)))
    for _ in range(settings.max_new_tokens):
        chosen = writing.step()
        going = [row for row, token_id in enumerate(chosen) if token_id not in end_ids]
        for row in going:
            answers[numbers[row]].append(chosen[row])
        if ended is not None:
            going = [row for row in going if not ended(answers[numbers[row]])]
        if not going:
            break
        if len(going) < len(numbers):
            writing.keep(going)
            numbers = [numbers[row] for row in going]
    return answers


class _Writing:
    """Some answers being written in step, the language model's memory of them included.

    Args:
        llm: the language model.
        embeddings: ``(B, L, D)``.
        mask: ``(B, L)``, 0 where a prompt is padded on its left; None where none is.
        settings: how tokens are chosen.
    """

    def __init__(
        self, llm: Any, embeddings: Tensor, mask: Tensor | None, settings: Generation
    ) -> None:
        self._llm, self._settings, self._mask = llm, settings, mask
        self._processors = _processors(settings)
        self._generators = [
            torch.Generator(embeddings.device).manual_seed(settings.seed) for _ in embeddings
        ]
        self._written = torch.empty(
            (len(embeddings), 0), dtype=torch.long, device=embeddings.device
        )
        self._cache: Any = None
        self._inputs: dict[str, Tensor] = {"inputs_embeds": embeddings}
        if mask is not None:
            self._inputs |= {
                "attention_mask": mask,
                "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            }

    def step(self) -> list[int]:
        """Let the model read what is new and return the next id of every answer."""
        output = self._llm(
            **self._inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self._cache = output.past_key_values
        # the last layer may be on another device than the first
        logits = output.logits[:, -1].to(self._written.device, torch.float32)
        scores = self._processors(self._written, logits)
        chosen = self._draw(scores) if self._settings.draws else scores.argmax(-1, keepdim=True)
        self._written = torch.cat([self._written, chosen], dim=1)
        self._inputs = {"input_ids": chosen}
        if self._mask is not None:
            self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
            positions = self._mask.sum(1, keepdim=True) - 1
            self._inputs |= {"attention_mask": self._mask, "position_ids": positions}
        return chosen[:, 0].tolist()

    def keep(self, rows: list[int]) -> None:
        """Go on with these answers only."""
        index = torch.tensor(rows)  # on the CPU it serves layers on any device
        self._cache.batch_select_indices(index)
        self._inputs = {name: tensor[index] for name, tensor in self._inputs.items()}
        self._written = self._written[index]
        self._generators = [self._generators[row] for row in rows]
        if self._mask is not None:
            self._mask = self._mask[index]

    def _draw(self, scores: Tensor) -> Tensor:
        shares = scores.softmax(-1)
        drawn = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(shares, self._generators, strict=True)
        ]
        return torch.stack(drawn)


def _pad_left(embeddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return ``(B, L, D)`` and the mask ``(B, L)`` of what is not padding."""
    padded = torch.nn.utils.rnn.pad_sequence(
        list(embeddings), batch_first=True, padding_side="left"
    )
    lengths = torch.tensor([len(one) for one in embeddings], device=padded.device)
    places = torch.arange(padded.shape[1], device=padded.device)
    return padded, (places >= padded.shape[1] - lengths[:, None]).long()


def _processors(settings: Generation) -> Any:
    """Return what turns logits into scores; the order is that of transformers."""
    from transformers.generation import logits_process

    processors = logits_process.LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        penalty = float(settings.repetition_penalty)
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(penalty))
    if settings.draws:
        temperature = float(settings.temperature)
        processors.append(logits_process.TemperatureLogitsWarper(temperature))
        if settings.top_p < 1.0:
            processors.append(logits_process.TopPLogitsWarper(settings.top_p))
    return processors


def _search_beams(
    llm: Any,
    embeddings: Tensor,
    mask: Tensor | None,
    settings: Generation,
    end_ids: Collection[int],
    ended: Ended | None,
) -> list[list[int]]:
    """Return the likeliest answer of a beam search to every prompt, ``(B, L, D)``."""
    import transformers

    settings_of: Any = transformers.GenerationConfig
    end = sorted(end_ids)
    # what is not said here comes from the checkpoint's own file, which may ask for draws
    config = settings_of(
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.beams,
        repetition_penalty=1.0,  # generate's own takes padding before a prompt for words to skip
        do_sample=False,
        use_cache=True,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        length_penalty=1.0,
        early_stopping=False,
        num_return_sequences=1,
        return_dict_in_generate=False,
        eos_token_id=end,
        pad_token_id=end[0],
    )
    if mask is None:
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)

    def criterion(ids: Tensor, scores: Any, **more: Any) -> Tensor:
        done = [ended is not None and ended(row) for row in ids.tolist()]
        return torch.tensor(done, device=ids.device)

    rows = llm.generate(
        inputs_embeds=embeddings,
        attention_mask=mask,
        generation_config=config,
        logits_processor=_processors(settings),
        stopping_criteria=[criterion],
    ).tolist()
    return [
        row[: next((place for place, id in enumerate(row) if id in end_ids), len(row))]
        for row in rows
    ]
