"""The state of a running job: what its workers say on their web ports, next to what Kafka tells, and one sentence."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from samplejoin.admin.kafka_status import KafkaStatus, kafka_status
from samplejoin.core.user_errors import counted, said
from samplejoin.core.values import Fields
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.progress import FRESH_S, ProgressMessage, decode_progress
from samplejoin.verify.kafka import TopicReader, partition_list

WEB_TIMEOUT_S = 2.0
#: of a status page: a source takes about 150
MOST_BYTES = 4 << 20
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
#: records of the progress topic that are read: one a second and worker
PROGRESS_RECORDS = 600


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker: its address, and its `/status.json`, or why that cannot be read."""

    name: str
    web: str
    page: Fields | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job now. `verdict` is one sentence: whether it is well, and if not, why nothing comes out."""

    job: str
    verdict: str
    well: bool
    workers: tuple[WorkerStatus, ...]
    kafka: KafkaStatus
    #: partitions of the repartition topic that no worker that answers has
    unowned: tuple[int, ...]


async def job_status(config: EngineConfig, addresses: Sequence[str] = ()) -> JobStatus:
    """Asks Kafka, and the workers at `addresses` or, without any, at those that they publish themselves."""
    facts = await kafka_status(config)
    known = {each: each for each in addresses} if addresses else await _published(config)
    workers = tuple(
        await asyncio.gather(*(_asked(name, web, config.topics.prefix) for name, web in sorted(known.items())))
    )
    pages = [worker.page for worker in workers if worker.page is not None]
    owned = {join["partition"] for page in pages for join in page["joins"]}
    unowned = tuple(sorted(set(range(config.partitions)) - owned)) if pages else ()
    well, verdict = judge(workers, facts, unowned)
    return JobStatus(config.topics.prefix, verdict, well, workers, facts, unowned)


def judge(workers: Sequence[WorkerStatus], kafka: KafkaStatus, unowned: Sequence[int]) -> tuple[bool, str]:
    """Whether the job is well, and the sentence that says so or names the most important cause."""
    pages = [worker.page for worker in workers if worker.page is not None]
    if kafka.missing:
        return False, f"input topics do not exist: {', '.join(kafka.missing)}"
    if not pages and not kafka.members:
        waiting = f"{counted(kafka.lag, 'record')} wait to be read" if kafka.lag else "everything is read"
        return False, f"no worker runs; {waiting}"
    if not pages:
        return False, _unreachable(workers, kafka)
    problems = [problem for page in pages for problem in page["problems"]]
    if problems:
        return False, problems[0]
    warnings = [warning for page in pages for warning in page["warnings"]]
    held = [warning for warning in warnings if "the clock is held" in warning]
    if held or warnings:
        return False, (held or warnings)[0]
    if unowned:
        return False, f"no worker that answers has {_partitions(unowned)}"
    if kafka.edited:
        return False, f"the job file is another than the one that runs: {kafka.edited} since"
    return True, f"well: {counted(len(pages), 'worker')}, lag {sum(page['lag'] for page in pages)}, {_clocks(pages)}"


def _unreachable(workers: Sequence[WorkerStatus], kafka: KafkaStatus) -> str:
    who = f"{counted(len(kafka.members), 'member')} in the group"
    if not workers:
        return f"{who}, and none has published a web address in the last {FRESH_S:.0f} s: is the worker starting?"
    return (
        f"{who}, and no web port answers ({workers[0].web}: {workers[0].why_not}); set SAMPLEJOIN_WEB_BIND, or name "
        "the ports by --workers"
    )


def _clocks(pages: Iterable[Fields]) -> str:
    return f"slowest clock {next((page['clock'] for page in pages if page['joins']), 'not known yet')}"


def _partitions(numbers: Sequence[int]) -> str:
    return f"join partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


async def _published(config: EngineConfig) -> dict[str, str]:
    """Worker -> web address, of those that have reported within the last seconds."""
    reader = TopicReader(config.connection)
    tps = partition_list(config.topics.progress, (await reader.partitions()).get(config.topics.progress, ()))
    begins, ends = await reader.bounds(tps)
    oldest_ms, found = (time.time() - FRESH_S) * 1000, {}
    tail = {tp: max(begins[tp], ends[tp] - PROGRESS_RECORDS) for tp in tps}
    async for _, records in reader.read(tail, ends):
        for record in records:
            message = _message(record.value) if record.timestamp >= oldest_ms else None
            if message is not None and message.web:
                found[message.worker] = message.web
    return found


def _message(value: bytes | None) -> ProgressMessage | None:
    try:
        return decode_progress(value or b"")
    except ValueError:  # not a worker's
        return None


async def _asked(name: str, web: str, job: str) -> WorkerStatus:
    try:
        page = await asyncio.to_thread(_page, web)
        if page["job"] != job:
            return WorkerStatus(name, web, None, f"a worker of job {page['job']} is there")
        return WorkerStatus(name, web, page)
    except urllib.error.HTTPError as error:
        error.close()
        return WorkerStatus(name, web, None, f"it answers with {error.code} {error.reason}")
    except (OSError, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        return WorkerStatus(name, web, None, said(cause) if isinstance(cause, BaseException) else str(cause))


class _Source(msgspec.Struct):
    topic: str
    partition: int
    lag: int
    read_time_ms: int | None


class _Join(msgspec.Struct):
    partition: int


class _Page(msgspec.Struct):
    """The fields of `/status.json` that are read here."""

    job: str
    problems: list[str]
    warnings: list[str]
    sources: list[_Source]
    joins: list[_Join]
    lag: int
    open_keys: int
    clock: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A worker never redirects, so an address that does is not a worker's."""

    def redirect_request(self, *_: object) -> None:
        return None


_open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect).open


def _page(web: str) -> Fields:
    if not _ADDRESS.fullmatch(web):
        raise ValueError("not an address of the form HOST:PORT")
    with _open(f"http://{web}/status.json", timeout=WEB_TIMEOUT_S) as answer:
        page: Fields = json.loads(answer.read(MOST_BYTES))
    try:
        msgspec.convert(page, _Page)
    except msgspec.ValidationError as error:
        raise ValueError(f"no worker of samplejoin answers there ({error})") from error
    return page
