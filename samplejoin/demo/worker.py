"""The demo's worker process: `python -m samplejoin.demo.worker JOB KEY=VALUE ...`, the same worker as in production.

In addition it ends when its standard input is closed: a demo that was killed leaves no worker behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from samplejoin.job.errors import JobError
from samplejoin.worker.faust_app import make_app, run
from samplejoin.worker.settings import WorkerSettings

GRACE_S = 12.0


def main(args: list[str]) -> None:
    """Runs the worker until SIGTERM, or until standard input is closed."""
    job, *overrides = args
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        app = make_app(Path(job), WorkerSettings(), dict(each.split("=", 1) for each in overrides))
    except JobError as error:
        raise SystemExit(str(error)) from None
    run(app)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
