"""`pplava cache`: how much is remembered of films already seen, and forgetting it."""

from __future__ import annotations

import typer

from pplava_cli.options import OutputOptions, examples, takes_options
from pplava_cli.records import SCHEMA
from pplava_core.paths import features_directory

_EXAMPLES = examples("pplava cache info", "pplava cache info --json", "pplava cache clear")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(
        help="Show or clear what is remembered of films already seen.", epilog=_EXAMPLES
    )
    group.command("info", epilog=_EXAMPLES)(takes_options(show_info))
    group.command("clear", epilog=_EXAMPLES)(takes_options(clear))
    app.add_typer(group, name="cache")


def show_info(output: OutputOptions) -> None:
    """Show where the cache is and how full it is."""
    from pplava_core.feature_cache import FeatureCache

    out = output.open()
    info = FeatureCache(features_directory()).info()
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "type": "cache",
                "directory": str(info.directory),
                "entry_count": info.entry_count,
                "total_bytes": info.total_bytes,
                "max_bytes": info.max_bytes,
            }
        )
        return
    used = f"{info.total_bytes / 1e6:.1f} MB of at most {info.max_bytes / 1e6:.0f} MB"
    out.line(f"{info.directory}: {info.entry_count} clips, {used}")


def clear(output: OutputOptions) -> None:
    """Forget every clip; the next question about one decodes and encodes it again."""
    from pplava_core.feature_cache import FeatureCache

    out = output.open()
    cleared = FeatureCache(features_directory()).clear()
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "type": "cache_cleared",
                "directory": str(cleared.directory),
                "entry_count": cleared.entry_count,
                "freed_bytes": cleared.freed_bytes,
            }
        )
        return
    out.line(f"{cleared.entry_count} clips forgotten, {cleared.freed_bytes / 1e6:.1f} MB freed")
