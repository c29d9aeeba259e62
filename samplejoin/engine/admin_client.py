"""The client for topics, groups and settings: aiokafka's, with a clear error for a cluster without a controller."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from samplejoin.connection_errors import Refused

#: how often a cluster is asked for its controller, and the pause in between; there is none while brokers elect one
ASKED, PAUSE_S = 5, 0.3


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's admin client; raises Refused for a cluster without a controller, for example `samplejoin broker`."""

    async def need_controller(self) -> None:
        """Raises Refused if the cluster has no controller, which creating and deleting topics and groups needs."""
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
                "creates the topics that the file names"
            )

    async def _send_to_controller(self, request: object) -> object:
        await self.need_controller()
        return await super()._send_to_controller(request)
