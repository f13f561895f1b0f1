"""Open-loop load from several processes, and the limit of what they can bring."""
