"""The join as a pure function. It uses the standard library only and takes time and randomness as arguments.

`spec` describes what a job joins, `keys` and `identity` compute keys and sample ids, `aggregates` and `exact_sum` merge
values, `cells` turns rows into mergeable cells, `fold` turns a key's cells into windows, `clock` computes the clock
from ticks, and `partition` applies the entries of one join partition's log and returns their outcomes.
"""
