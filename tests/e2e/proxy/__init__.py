"""The proxy between raw sockets, beside nginx and HAProxy: a table of what each side must see.

``talk`` holds the two ends, ``steps`` the words that rows are written in, ``rows_*`` the rows,
``doors`` what stands in between, ``differences`` where the peers do otherwise and why we don't;
``cells`` and ``outcomes`` are the same for the matrix of ambiguous requests.
"""
