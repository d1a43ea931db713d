"""What every benchmark stands on: jobs and their store, dask's workers, statistics, tables, clocks and memory counters."""
