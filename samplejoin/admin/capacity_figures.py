"""The measured figures behind `samplejoin plan`, each with its source. Replace them with your own measurements.

"The benchmark" is the load of docs/performance.md (bench/generate.py, bench/job), on one machine with two cores.
"""

from __future__ import annotations

# ---- the load -----------------------------------------------------------------------------------------------------

EVENT_BYTES = 142
"""Uncompressed JSON of the benchmark's average event, with which all figures in bytes below were measured."""
EVENTS_PER_KEY = 1.43
"""Events per window in the benchmark, where 70 % of the keys have one event."""

# ---- processor time of a worker, one core -------------------------------------------------------------------------

CPU_US_PER_EVENT = 28.0
"""python -m bench.cost, docs/performance.md: 22 to 26 depending on the Python build, plus a tenth for uneven loads."""
READ_US = 20.0
"""Extra cost of an event past `limits.cache_keys`, whose key is read from RocksDB: python -m bench.large, 10 million
keys, of which a tenth is in memory and a third in the page cache; 12 with all files in the page cache."""
BLOCK_US = 110.0
"""A block of any size: 90 to pack and send it, 20 to read it. Sender and Partition timed with a broker, with 4, 64 and
256 join partitions."""
RUN_RECORDS = 2000
"""Events that become one block per join partition at full speed: agents/clean.py."""
TICK_US = 95.0
"""A tick, sent, read and applied, timed likewise; each worker sends one a second to each join partition."""
CLOCK_US_PER_SOURCE_PAIR = 0.34
"""The clock of one join partition, per second and pair of source partitions: Partition timed with 128 to 1024."""
REPLAY_ROWS_PER_S = 260_000
"""Rows of the changelog that one core replays: python -m bench.recovery."""

# ---- bytes --------------------------------------------------------------------------------------------------------

STATE_BYTES_PER_KEY = 125
"""State of an open key, the same in memory and in RocksDB; it grows with the size of the events."""
DISK_BYTES_PER_KEY = 53
"""Overhead of a key on disk: with its state, the 178 bytes of python -m bench.recovery (534 MB for 3 million keys)."""
CACHED_BYTES_PER_KEY = 200
"""Overhead of a cached key in memory. With state and deadline a key takes 400 bytes. In docs/performance.md one worker
uses 582 MB and each of two uses 401 MB: the difference is for 455,000 keys."""
DEADLINE_BYTES_PER_KEY = 75
"""A key in its bucket of deadlines, in memory whether or not its state is."""
MEMORY_BYTES = 220_000_000
"""A worker without keys: what is left of these measurements after the keys."""
REPARTITION_BYTES_PER_EVENT = 47
"""Size of the topic per event after bench.cost with 50,000 impressions, at 400 rows a block."""
BLOCK_BYTES = 320
"""Overhead of a block with its batch: the same run with 64 join partitions, 25 rows a block."""
TICK_BYTES = 195
"""The same run: a tick with its batch."""
CHANGELOG_BYTES_PER_EVENT = 72
"""The same run: puts, deletes, deadlines and the partition's own state, at one put an event."""
SAMPLE_BYTES = {"none": 417, "lz4": 124, "gzip": 88, "zstd": 90}
"""The same run, per sample, by `outputs.samples.compression`: 11 fields and the key, headers included."""

# ---- recovery -----------------------------------------------------------------------------------------------------

RESTART_S = 1.0
"""A start on the same disk, without the time for its open keys: python -m bench.recovery."""
RESTART_KEYS_PER_S = 1_000_000
"""The same run: open keys whose deadlines are loaded into memory."""
STANDBY_S = 0.9
"""The same run: takeover by a standby after the session timeout, with 3 million open keys."""

# ---- brokers: published rules of thumb ----------------------------------------------------------------------------

REPLICAS = 3
"""Assumed where the job file leaves the replication factor to the brokers."""
BROKER_BYTES_PER_S = 300_000_000
"""Bytes that a broker appends, as leader and follower: half of Confluent's benchmark, in which three brokers with local
SSDs took 605 MB/s with three replicas."""
BROKER_PARTITIONS = 4000
"""Replicas on a broker, at most: KIP-578; Amazon MSK recommends 1000 to 4000 by the size of the broker."""
