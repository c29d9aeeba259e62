"""A worker whose group coordinator answers some requests with an error that the Kafka client does not know.

Run as `python -m tests.integration.failing_coordinator -A samplejoin worker`. `SAMPLEJOIN_TEST_FAILING` names the kind
of request, and of its requests the first that fails and how many do: for example `SyncGroupRequest:2:1`.
"""

from __future__ import annotations

import os
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import UnknownError

kind, first, count = os.environ["SAMPLEJOIN_TEST_FAILING"].split(":")
failing = range(int(first), int(first) + int(count))
sent = 0
send = GroupCoordinator._send_req


async def _send_req(self: Any, request: Any) -> Any:
    global sent
    answer = await send(self, request)
    if type(request).__name__ == kind:
        sent += 1
        if sent in failing:
            answer.error_code = UnknownError.errno
    return answer


GroupCoordinator._send_req = _send_req

if __name__ == "__main__":
    from faust.cli.faust import cli

    cli(prog_name="faust")
