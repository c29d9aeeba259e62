"""Measures CPU and memory of an idle worker, with empty inputs. python -m bench.idle"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.generate import PARTITIONS
from bench.processes import SystemFailed
from bench.run import started
from bench.systems import SYSTEMS, Run
from tests.support.kafka import KafkaServer, create_topics

#: a start takes some seconds, and is no idling
SETTLE_S = 20.0


def main() -> None:
    """Starts a worker, waits, measures twice and prints one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="samplejoin-idle-"))
    try:
        with KafkaServer() as kafka:
            create_topics(kafka.bootstrap, {"imp": PARTITIONS, "act": PARTITIONS})
            with started(SYSTEMS["ours"], Run("idle", kafka.bootstrap, root / "run")) as (process,):
                time.sleep(SETTLE_S)
                process.look()
                time.sleep(options.seconds)
                process.look()
        (begun_s, begun_cpu_s), (ended_s, ended_cpu_s) = process.seen[-2:]
        share = (ended_cpu_s - begun_cpu_s) / (ended_s - begun_s)
        print(json.dumps({"core_percent": round(100 * share, 2), "peak_mb": round(process.peak_mb)}))
    except SystemFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
