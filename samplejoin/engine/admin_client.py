"""The client for topics, groups and settings: aiokafka's, which says in words what a broker cannot do."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from samplejoin.connection_errors import Refused

#: how often and how far apart a cluster is asked for its controller, which is away while brokers elect one
ASKED, PAUSE_S = 5, 0.3


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's, which refuses a broker without a controller in words, such as that of `samplejoin broker`."""

    async def need_controller(self) -> None:
        """Raises Refused where no broker can create and delete topics, offsets and groups."""
        cluster = self._client.cluster
        for attempt in range(ASKED):
            if cluster.controller is not None:
                return
            if attempt:
                await asyncio.sleep(PAUSE_S)
            await self._client.force_metadata_update()
        if cluster.controller is None:
            brokers = ", ".join(f"{broker.host}:{broker.port}" for broker in cluster.brokers())
            raise Refused(
                f"the broker at {brokers} cannot create or delete topics and groups: it names no controller. If "
                "`samplejoin broker` runs there, stop it and start it with this job file: it forgets everything, and "
                "makes the topics that the file names"
            )

    async def _send_to_controller(self, request: object) -> object:
        await self.need_controller()
        return await super()._send_to_controller(request)
