"""Hold the project against the authors' own numbers: modules and whole tiny checkpoints.

    python benchmarks/golden.py DIR

DIR has `modules/` (one safetensors and JSON file a module) and `models/` (a folder a checkpoint
in the released layout, with what the authors' code computed from recorded inputs). Prints
each check's largest difference beside the tolerance: ten times the reference's own float32 error
plus 1e-6 where it is stated. Ends with 1 if any check fails.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import transformers
from golden_checks import Check, Golden
from golden_models import check_model
from golden_modules import MODULES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with modules/ and models/")
    parser.add_argument("--failed", action="store_true", help="print only what fails")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    checks = all_checks(arguments.folder)
    if not checks:
        parser.error(f"{arguments.folder} has neither modules/ nor models/")
    width = max(len(check.name) for check in checks)
    print(f"{'check':{width}}  {'max error':>9}  {'tolerance':>9}  ok")
    for check in checks:
        if not (check.ok and arguments.failed):
            ok = "yes" if check.ok else "NO"
            print(f"{check.name:{width}}  {check.error:9.1e}  {check.tolerance:9.1e}  {ok}")
    failed = sum(not check.ok for check in checks)
    print(f"{len(checks)} checks, {failed} failed")
    return 1 if failed else 0


@torch.inference_mode()
def all_checks(folder: Path) -> list[Check]:
    """Run every check that the folder has numbers for."""
    checks = []
    for name, check_module in MODULES.items():
        path = folder / "modules" / name
        if path.with_suffix(".json").is_file():
            golden = Golden(path, name)
            check_module(golden)
            checks += golden.checks
    for path in sorted(folder.glob("models/*/io.json")):
        golden = Golden(path.with_suffix(""), path.parent.name)
        check_model(path.parent, golden)
        checks += golden.checks
    return checks


if __name__ == "__main__":
    sys.exit(main())
