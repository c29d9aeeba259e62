"""A worker that some of whose fetches are answered as by a broker that leads a partition no longer: "out of range".

Run as `python -m tests.integration.former_leader -A samplejoin worker`. `SAMPLEJOIN_TEST_FORMER` names the topic whose
partitions are answered so, and of their non-empty answers the first and how many: `job-click:3:2`, for example.
"""

from __future__ import annotations

import os
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import OffsetOutOfRangeError

topic, first, count = os.environ["SAMPLEJOIN_TEST_FORMER"].split(":")
failing = range(int(first), int(first) + int(count))
answered = 0
send = AIOKafkaClient.send


async def _send(self: Any, node: Any, request: Any, **options: Any) -> Any:
    global answered
    answer = await send(self, node, request, **options)
    if type(request).__name__ == "FetchRequest":
        for name, partitions in answer.topics:
            for at, (partition, error, *rest) in enumerate(partitions):
                if name == topic and not error and rest[-1]:
                    answered += 1
                    if answered in failing:
                        partitions[at] = (partition, OffsetOutOfRangeError.errno, *rest)
    return answer


AIOKafkaClient.send = _send

if __name__ == "__main__":
    from faust.cli.faust import cli

    cli(prog_name="faust")
