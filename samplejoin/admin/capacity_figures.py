"""The measured figures that `samplejoin plan` counts with. Each says where it comes from; replace it by one of yours.

"The benchmark" is the load of docs/performance.md (bench/generate.py, bench/job), on one machine with two cores.
"""

from __future__ import annotations

# ---- the load -----------------------------------------------------------------------------------------------------

EVENT_BYTES = 142
"""JSON of the benchmark's average event, uncompressed: what all figures in bytes below were measured with."""
EVENTS_PER_KEY = 1.43
"""The benchmark: events per window that opens; 70 % of its keys have one."""

# ---- processor time of a worker, one core -------------------------------------------------------------------------

CPU_US_PER_EVENT = 28.0
"""python -m bench.cost, docs/performance.md: 22 to 26 by the build of Python, and a tenth for loads less even."""
READ_US = 20.0
"""What more an event costs past `limits.cache_keys`, its key looked for in RocksDB: python -m bench.large, 10 million
keys, of which a tenth is in memory and a third in the page cache; 12 with all files in the page cache."""
BLOCK_US = 110.0
"""A block, however small: 90 to pack and send it, 20 to read it. Sender and Partition timed on a broker, with 4, 64 and
256 join partitions."""
RUN_RECORDS = 2000
"""Events that become one block per join partition at full speed: agents/clean.py."""
TICK_US = 95.0
"""A tick, sent, read and believed, timed likewise; each worker sends one a second to each join partition."""
CLOCK_US_PER_SOURCE_PAIR = 0.34
"""The clock of one join partition, per second and pair of source partitions: Partition timed with 128 to 1024."""
REPLAY_ROWS_PER_S = 260_000
"""Rows of the changelog that one core replays: python -m bench.recovery."""

# ---- bytes --------------------------------------------------------------------------------------------------------

STATE_BYTES_PER_KEY = 125
"""An open key's own state, as it rests in memory and in RocksDB; it grows with the events."""
DISK_BYTES_PER_KEY = 53
"""Beside it on disk: with the state the 178 bytes of python -m bench.recovery (534 MB for 3 million keys)."""
CACHED_BYTES_PER_KEY = 200
"""Beside it in memory if it is cached. With state and deadline 400 bytes a key: what one worker of docs/performance.md
has more than each of two, 582 MB and 401 MB, for its 455,000 keys more."""
DEADLINE_BYTES_PER_KEY = 75
"""A key in its bucket of deadlines, in memory whether its state is or not."""
MEMORY_BYTES = 220_000_000
"""A worker without keys: what is left of those."""
REPARTITION_BYTES_PER_EVENT = 47
"""Size of the topic after bench.cost with 50,000 impressions, at 400 rows a block."""
BLOCK_BYTES = 320
"""What each block adds to that, its batch included: the same with 64 join partitions, 25 rows a block."""
TICK_BYTES = 195
"""The same: a tick with its batch."""
CHANGELOG_BYTES_PER_EVENT = 72
"""The same: puts, deletes, deadlines and the partition's own state, at one put an event."""
SAMPLE_BYTES = {"none": 417, "lz4": 124, "gzip": 88, "zstd": 90}
"""The same, per sample by `outputs.samples.compression`, headers included; 11 fields and the key."""

# ---- coming back --------------------------------------------------------------------------------------------------

RESTART_S = 1.0
"""A start on the same disk, before its open keys: python -m bench.recovery."""
RESTART_KEYS_PER_S = 1_000_000
"""The same: open keys whose deadlines come into memory."""
STANDBY_S = 0.9
"""The same: a standby takes over, once the session timeout is over; 3 million open keys."""

# ---- brokers: rules of thumb of others ----------------------------------------------------------------------------

REPLICAS = 3
"""Where the job file leaves it to the brokers."""
BROKER_BYTES_PER_S = 300_000_000
"""That a broker appends, as leader and follower: half of Confluent's benchmark, in which three brokers with local SSDs
took 605 MB/s with three replicas."""
BROKER_PARTITIONS = 4000
"""Replicas on a broker, at most: KIP-578; Amazon MSK recommends 1000 to 4000 by the size of the broker."""
