"""A worker as a later version might be: it also reads, and by itself would write, record format 2.

Run as `python -m tests.integration.next_version -A samplejoin worker`; with `SAMPLEJOIN_TEST_OLDEST=2` it no longer
reads format 1.
"""

from __future__ import annotations

import os

from samplejoin.engine import record_format

# before any other module takes them over
record_format.NEWEST = 2
record_format.OLDEST = int(os.environ.get("SAMPLEJOIN_TEST_OLDEST", "1"))

if __name__ == "__main__":
    from faust.cli.faust import cli

    cli(prog_name="faust")
