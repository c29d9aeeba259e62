"""A worker as a later version might be: it also reads, and by itself would write, record format 2.

Run as `python -m tests.integration.next_version -A samplejoin worker`; with `SAMPLEJOIN_TEST_OLDEST=2` it no longer
reads format 1.
"""

from __future__ import annotations

import os

from samplejoin.engine import assignor, wire

wire.NEWEST = 2
wire.OLDEST = int(os.environ.get("SAMPLEJOIN_TEST_OLDEST", "1"))
formats = (wire.OLDEST, wire.NEWEST)
assignor.MemberState.__new__.__defaults__ = tuple(
    formats if name == "formats" else default for name, default in assignor.MemberState._field_defaults.items()
)

if __name__ == "__main__":
    from faust.cli.faust import cli

    cli(prog_name="faust")
