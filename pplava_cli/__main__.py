"""Lets ``python -m pplava_cli`` stand in for the `pplava` script."""

import sys

from pplava_cli.app import main

sys.exit(main())
