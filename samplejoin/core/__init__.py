"""The join as a pure function: standard library only, time and randomness come in as arguments.

`spec` says what a job joins, `keys` and `identity` name things, `aggregates` and `exact_sum` merge values, `cells`
turns rows into mergeable cells, `fold` turns a key's cells into windows, `clock` turns ticks into a watermark, and
`partition` steps one join partition: entries of its log in, outcomes out.
"""
