"""Proves on a job's own topics that nothing was lost, doubled or wrong: `samplejoin verify`.

`inputs` cleans what was read, `outputs` reads samples and side rows, `spill` keeps both on disk by key, `expected` says
what a key must give, `judge` compares, `replay` steps the repartition log for keys with late rows, `kafka` reads.
None of it runs the worker's engine: a judge that shares the code it judges shares its mistakes.
"""
