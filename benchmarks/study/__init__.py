"""Studies of scheduling: what is run (workloads) and what came of it (records)."""
