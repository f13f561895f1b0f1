"""The harness: servers × workloads × loads, measured in rounds by one generator."""
