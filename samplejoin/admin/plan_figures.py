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

CPU_US_PER_EVENT = 33.0
"""python -m bench.cost, docs/performance.md: 30, and a tenth for loads that are less even."""
BLOCK_US = 120.0
"""A block, from packing it to merging it."""
RUN_RECORDS = 2000
"""Events that become one block per join partition at full speed: agents/clean.py."""
TICK_US = 90.0
"""A tick, from making it to believing it: each worker sends one a second to each join partition."""
CLOCK_US_PER_SOURCE_PAIR = 0.35
"""The clock of one join partition, per second, per pair of source partitions: core/clock.py, 128 to 1024 of them."""
READ_US = 5.0
"""An event whose key is looked for in RocksDB: past `limits.cache_keys`. python -m bench.cost with 5000 of them."""
REPLAY_ROWS_PER_S = 260_000
"""Rows of the changelog that one core replays: python -m bench.recovery."""

# ---- bytes --------------------------------------------------------------------------------------------------------

STATE_BYTES_PER_KEY = 125
"""An open key's own state, as it rests in memory and in RocksDB; it grows with the events."""
DISK_BYTES_PER_KEY = 53
"""Beside it on disk: with the state the 178 bytes of python -m bench.recovery (534 MB for 3 million keys)."""
CACHED_BYTES_PER_KEY = 340
"""Beside it in memory, in the cache: with state and deadline 540 bytes a key, over 0.2 to 0.9 million of them."""
DEADLINE_BYTES_PER_KEY = 75
"""A key in its bucket of deadlines, in memory whether its state is or not."""
MEMORY_BYTES = 200_000_000
"""A worker without keys: what is left of python -m bench.cost's 674 MB (one worker) and 453 MB (two)."""
REPARTITION_BYTES_PER_EVENT = 48
"""python -m bench.cost --impressions 50000: values of the blocks, at 300 rows a block."""
BLOCK_BYTES = 290
"""What each block adds to that, batch header included: the same with 64 join partitions, 21 rows a block."""
TICK_BYTES = 195
"""The same: a tick with its batch header."""
CHANGELOG_BYTES_PER_EVENT = 66
"""The same: puts, deletes, deadlines and the partition's own state."""
SAMPLE_BYTES = {"none": 417, "lz4": 124, "gzip": 88, "zstd": 89}
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
