"""What a run came to, as values, and as the files that stand beside its answers.

`summary.json` holds everything; `report.md` and `tables.csv` show it to people and
spreadsheets; `questions.jsonl` tells of every question what was read and what it is worth,
which is all that comparing runs needs. Knows no benchmark by name.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pplava_core.atomic import replacing
from pplava_core.errors import InputError
from pplava_core.evals.base import Benchmark, Item, Prediction, Report, Settings
from pplava_core.evals.runs.predictions import unwritable

SUMMARY_NAME = "summary.json"
MARKDOWN_NAME = "report.md"
TABLES_NAME = "tables.csv"
QUESTIONS_NAME = "questions.jsonl"
_NUMBERS = ("frames", "visual_tokens", "answer_tokens", "max_new_tokens")
_NAMES = ("prompt_source", "weighting", "window")

Values = dict[str, Any]


def summarise(
    benchmark: Benchmark,
    items: Sequence[Item],
    predictions: Mapping[str, Prediction],
    settings: Settings,
    manifest: Mapping[str, Any],
) -> Values:
    """Score a run and put all that is known of it into JSON values.

    Args:
        benchmark: whose rules apply.
        items: the questions of the run.
        predictions: by item; those of other items are passed over.
        settings: for the protocol.
        manifest: what determined the answers, as far as it is known.
    """
    known = {item.id: predictions[item.id] for item in items if item.id in predictions}
    report = benchmark.report(items, known, settings)
    return {
        "benchmark": benchmark.info.name,
        "title": benchmark.info.title,
        "protocol": settings.protocol,
        "split": settings.split or benchmark.info.splits[0],
        "strict": settings.strict,
        "subtitles": settings.subtitles,
        **_report_values(report),
        "asked": _conditions(known.values()),
        "errors": _errors(known.values()),
        "manifest": dict(manifest),
    }


def question_records(
    benchmark: Benchmark,
    items: Sequence[Item],
    predictions: Mapping[str, Prediction],
    settings: Settings,
) -> list[Values]:
    """Describe what became of every question."""
    records = []
    for item in items:
        prediction = predictions.get(item.id)
        text = "" if prediction is None else prediction.text
        extracted = benchmark.extract(item, text, settings)
        records.append(
            {
                "id": item.id,
                "video": item.video_id,
                "groups": dict(item.groups),
                "question": item.question,
                "options": list(item.options),
                "answer": item.answer,
                "text": text,
                "extracted": extracted.value,
                "how": extracted.how,
                "points": None
                if prediction is None
                else benchmark.points(item, prediction, settings),
                "error": "not asked" if prediction is None else prediction.error,
            }
        )
    return records


def write_reports(
    folder: Path,
    summary: Mapping[str, Any],
    questions: Iterable[Mapping[str, Any]],
    submission: Mapping[str, str],
) -> None:
    """Write the report's files, each whole or not at all.

    Args:
        folder: exists.
        summary: from `summarise`.
        questions: from `question_records`.
        submission: further files, name to contents.

    Raises:
        OutputError: the disk is full, or the folder may not be written into.
    """
    lines = (json.dumps(record, default=str) + "\n" for record in questions)
    files = {
        SUMMARY_NAME: json.dumps(summary, indent=1) + "\n",
        MARKDOWN_NAME: markdown(summary),
        TABLES_NAME: tables_csv(summary),
        QUESTIONS_NAME: "".join(lines),
        **submission,
    }
    for name, text in files.items():
        try:
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritable(folder / name, error) from error


def read_summary(folder: Path) -> Values:
    """Read the summary of a run's folder.

    Raises:
        InputError: the run has none, or it is damaged.
    """
    path = folder / SUMMARY_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {**values, "benchmark": values["benchmark"], "value": values["value"]}
    except OSError as error:
        raise InputError(
            f"{folder} has no results yet: {SUMMARY_NAME}: {error.strerror}"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}; run the same command again") from error


def read_questions(folder: Path) -> list[Values]:
    """Read what became of every question of a run.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    path = folder / QUESTIONS_NAME
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{**record, "id": record["id"], "points": record["points"]} for record in records]
    except OSError as error:
        raise InputError(
            f"{folder} has no results yet: {QUESTIONS_NAME}: {error.strerror}"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}; run the same command again") from error


def shown(value: float | None, unit: str) -> str:
    """Write a figure as papers do: shares in percent."""
    if value is None:
        return "—"
    return f"{100 * value:.1f}" if unit == "share" else f"{value:.2f}"


def shown_interval(row: Mapping[str, Any]) -> str:
    """Write the ends of an interval, or nothing where there is none."""
    if row.get("low") is None or row.get("high") is None:
        return ""
    return f"{shown(row['low'], row['unit'])} – {shown(row['high'], row['unit'])}"


def headline(summary: Mapping[str, Any]) -> str:
    """Put the figure that papers quote into one line."""
    unit = " %" if summary["unit"] == "share" and summary["value"] is not None else ""
    interval = shown_interval(summary)
    sure = f" (95 %: {interval})" if interval else ""
    return (
        f"{summary['title']}, {summary['headline']}: "
        f"{shown(summary['value'], summary['unit'])}{unit}{sure}"
    )


def facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List, with its name, each circumstance that a reader has to know."""
    manifest, asked = summary["manifest"], summary["asked"]
    model, counts = manifest.get("model", {}), summary["counts"]
    subtitles = ", with subtitles" if summary["subtitles"] else ""
    strict = ", strict" if summary["strict"] else ""
    lines = [
        ("protocol", f"{summary['protocol']}, split {summary['split']}{subtitles}{strict}"),
        ("counts", ", ".join(f"{name} {count}" for name, count in counts.items())),
    ]
    if model:
        lines.insert(0, ("model", f"{model['name']} {model['revision']}, {model['dtype']}"))
    if asked:
        lines += [
            ("prompt", ", ".join(map(str, asked["prompt_source"]))),
            ("frames", _span(asked["frames"])),
            ("pooling", _pooling(asked)),
            ("generation", _generation(asked, manifest)),
        ]
    chosen = {name: value for name, value in manifest.get("selection", {}).items() if value}
    if chosen:
        lines.append(("selection", ", ".join(f"{k} {_plain(v)}" for k, v in chosen.items())))
    return lines


def markdown(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as Markdown."""
    lines = [f"# {headline(summary)}", ""]
    lines += [f"- {name}: {text}" for name, text in facts(summary)]
    lines += [f"- {note}" for note in summary["notes"]]
    for table in summary["tables"]:
        unit = " (%)" if all(row["unit"] == "share" for row in table["rows"]) else ""
        lines += ["", f"## {table['name']}", "", f"| | n | value{unit} | 95 % interval |"]
        lines += ["|---|---:|---:|---|"]
        lines += [
            f"| {row['name']} | {row['count']} | {shown(row['value'], row['unit'])} "
            f"| {shown_interval(row)} |"
            for row in table["rows"]
        ]
    if summary["errors"]:
        lines += ["", "## Not answered", ""]
        lines += [f"- {count} × {error}" for error, count in summary["errors"].items()]
    return "\n".join(lines) + "\n"


def tables_csv(summary: Mapping[str, Any]) -> str:
    """Lay all tables out as one CSV, a row a row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "count", "value", "low", "high", "unit"])
    for table in summary["tables"]:
        for row in table["rows"]:
            columns = ("name", "count", "value", "low", "high", "unit")
            writer.writerow([table["name"], *(row[column] for column in columns)])
    return out.getvalue()


def _report_values(report: Report) -> Values:
    values = dataclasses.asdict(report)
    values["counts"], values["notes"] = dict(report.counts), list(report.notes)
    values["tables"] = [
        {"name": table.name, "rows": [dataclasses.asdict(row) for row in table.rows]}
        for table in report.tables
    ]
    return values


def _conditions(predictions: Iterable[Prediction]) -> Values:
    """Sum up how questions were put, from what stands beside the answers."""
    details = [one.details for one in predictions if _is_told(one.details)]
    if not details:
        return {}
    conditions: Values = {}
    for name in _NUMBERS:
        numbers = [one[name] for one in details]
        mean = round(sum(numbers) / len(numbers), 2)
        conditions[name] = {"min": min(numbers), "max": max(numbers), "mean": mean}
    for name in _NAMES:
        found = Counter(json.dumps(one.get(name)) for one in details)
        conditions[name] = [json.loads(text) for text, _ in found.most_common()]
    conditions["cut_short"] = sum(one["stopped"] == "length" for one in details)
    return conditions


def _is_told(details: Mapping[str, Any]) -> bool:
    """Whether a question's circumstances stand there; other programs' files have others."""
    numbers = all(isinstance(details.get(name), int | float) for name in _NUMBERS)
    return numbers and all(name in details for name in (*_NAMES, "stopped"))


def _errors(predictions: Iterable[Prediction]) -> dict[str, int]:
    return dict(Counter(one.error for one in predictions if one.error is not None).most_common())


def _span(numbers: Mapping[str, Any]) -> str:
    if numbers["min"] == numbers["max"]:
        return str(numbers["min"])
    return f"{numbers['min']} to {numbers['max']}"


def _pooling(asked: Mapping[str, Any]) -> str:
    windows = [
        "no window" if window is None else "×".join(map(str, window[0]))
        for window in asked["window"]
    ]
    tokens = asked["visual_tokens"]["mean"]
    return f"{', '.join(asked['weighting'])}, {', '.join(windows)}, {tokens:g} visual tokens"


def _generation(asked: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    settings = manifest.get("generation", {})
    how = "greedy"
    if settings.get("beams", 1) > 1:
        how = f"{settings['beams']} beams"
    if settings.get("temperature", 0.0) > 0.0:
        how = f"temperature {settings['temperature']:g}, seed {settings['seed']}"
    cut_short = f", {asked['cut_short']} cut short" if asked["cut_short"] else ""
    return f"{how}, at most {_span(asked['max_new_tokens'])} tokens{cut_short}"


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
