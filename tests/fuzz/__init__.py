"""Mutated streams through the whole proxy, in one process, judged by others.

``python -m tests.fuzz --cases 1000000 --seed 1`` is the long run; the tests here are the short one.

One case is what a client (or an upstream) says: valid messages of a grammar (``grammar``,
``replies``), most of them spoilt (``mutate``), and cut somewhere.  It goes through the engine, the
handler and the upstream connections as they are; only the sockets are memory (``bench``).

Three parties say what it means.  The ``oracle`` is a second, plain and strict parser: nothing may
reach an upstream that it does not read in what the client said.  h11 (``judge``) and Node's llhttp
(``llhttp``) read what reached the upstream, and must read the same.
"""
