"""Where the `pplava` script starts, and ``python -m pplava_cli``.

Imports next to nothing itself, so that Ctrl-C in the first moments, while the program is
still being loaded, ends it as quietly as later on.
"""

import sys


def main() -> int:
    """Load and run the program; return its exit code."""
    try:
        from pplava_cli.app import main as run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
