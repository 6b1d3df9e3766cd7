"""Whether servers are well, asked by one process for all workers: active probes."""
