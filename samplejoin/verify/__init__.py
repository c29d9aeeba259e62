"""Proves on a job's own topics that nothing was lost, doubled or wrong: `samplejoin verify`.

`kafka` reads topics, `inputs` cleans input records, `outputs` parses samples and side rows, `spill` keeps both on disk
by key, `expected` computes what a key must become, `judge` compares, `replay` steps the repartition log for keys with
late rows. None of it runs the worker's engine, because a judge would share the mistakes of the code that it shares.
"""
