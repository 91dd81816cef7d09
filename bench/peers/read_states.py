"""Reads the states of a Parquet file into NumPy float32 with pyarrow on one thread, and prints MB of floats for each second of CPU time: read_states.py FILE."""

import sys
import time

import numpy
import pyarrow
import pyarrow.parquet

pyarrow.set_cpu_count(1)
pyarrow.set_io_thread_count(1)
for _ in range(5):
    began = time.process_time()
    table = pyarrow.parquet.read_table(sys.argv[1], columns=["sequence", "position", "item", "state"], use_threads=False)
    states = numpy.ascontiguousarray(table["state"].combine_chunks().flatten().to_numpy(), dtype=numpy.float32)
    seconds = time.process_time() - began
    print(f"{states.nbytes / seconds / 1e6:.0f} MB/s")
