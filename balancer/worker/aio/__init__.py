"""The worker on an asyncio loop: the counterpart of ``worker.worker`` for ``--engine uvicorn``.

loop      which loop, and a worker's whole life on it
worker    serves what it receives, beats its heart, obeys the master
receiver  where connections come in
service   from settings and an app to what a worker runs
channel   the master's words
"""
