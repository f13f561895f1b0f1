"""A worker process: receives connections, acknowledges them, and serves them with the app.

``entry`` is what the fork server calls in the child; ``app`` imports what is to be served;
``receiver`` takes connections from the master (or, under the kernel's policies, accepts them);
``worker`` ties them to the HTTP engine, beats the heart and does what the master says.
"""
