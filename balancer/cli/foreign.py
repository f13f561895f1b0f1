"""Flags of gunicorn and uvicorn that are none of ours, and what to do instead.

Many of theirs are ours too, or aliases of ours: those stand in the table of settings.  Each of the
rest has a row here, so that a command line which is pasted is answered with a sentence and never
with the nearest spelling, and none is accepted without effect: who writes ``--keyfile`` believes
that something is encrypted.  A test holds this table against what both programs print for
``--help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["FOREIGN", "without_words"]

_NO_TLS = "TLS isn't terminated here: put it behind something that does"
_NO_HTTP2 = "HTTP/1.1 is spoken here, and HTTP/2 by what is in front"
_NO_DAEMON = "run it under systemd, in a container or behind nohup"
_NO_CLASS = "the app says how it is called; one that needs asyncio takes --engine uvicorn"
_NO_LOG_FILE = (
    "the log goes to standard error: put 2>>FILE behind the command, or let journald have it"
)
_NO_LOGGER = "the server's log has one form, on standard error, and a level: --log-level"
_NO_SYSLOG = (
    "the log goes to standard error, from which journald and others take it; --access-logfile is "
    "for requests"
)
_NO_STATSD = "nothing is sent to statsd: balancer status --json has the numbers"
_NO_PROXY_PROTOCOL = (
    "the PROXY protocol isn't spoken here: let what is in front set X-Forwarded-For, and name it "
    "in --forwarded-allow-ips"
)
_NO_PASTE = "no PasteDeploy file is read: name the app itself, module:attr"
_STRICT = "requests are read strictly, and nothing loosens that"
_NO_DIRTY = "every worker is alike: give long tasks to a queue, or to a server of their own"
_NO_MAPPING = "a WSGI app never gets headers with an underscore, because they would pass for others"
_ONE_PARSER = "there is one, chosen by --engine"

FOREIGN: Mapping[str, str] = {
    # -- gunicorn
    "-v": "it is balancer --version",
    "-k": _NO_CLASS,
    "--worker-class": _NO_CLASS,
    "--limit-request-field_size": "only the whole head has a limit: --limit-request-head",
    "--reload-engine": "--reload has one: watchfiles",
    "--reload-extra-file": "name its folder, --reload-dir, and its pattern, --reload-include",
    "--spew": "use sys.settrace in the app",
    "--no-sendfile": "files are never sent that way",
    "--reuse-port": "the kernel chooses by --policy reuseport",
    "-D": _NO_DAEMON,
    "--daemon": _NO_DAEMON,
    "--worker-tmp-dir": "no file is written: workers beat in shared memory",
    "--disable-redirect-access-to-syslog": _NO_SYSLOG,
    "--error-logfile": _NO_LOG_FILE,
    "--log-file": _NO_LOG_FILE,
    "--capture-output": "what an app prints goes where the server's own output does, always",
    "--logger-class": _NO_LOGGER,
    "--log-config": _NO_LOGGER,
    "--log-config-json": _NO_LOGGER,
    "--log-syslog-to": _NO_SYSLOG,
    "--log-syslog": _NO_SYSLOG,
    "--log-syslog-prefix": _NO_SYSLOG,
    "--log-syslog-facility": _NO_SYSLOG,
    "-R": "workers always have the server's standard output and error",
    "--enable-stdio-inheritance": "workers always have the server's standard output and error",
    "--statsd-host": _NO_STATSD,
    "--dogstatsd-tags": _NO_STATSD,
    "--statsd-prefix": _NO_STATSD,
    "--enable-backlog-metric": "balancer status --json has what is queued, always",
    "--pythonpath": "the folder with the app is --app-dir; for more set the variable PYTHONPATH",
    "--paste": _NO_PASTE,
    "--paster": _NO_PASTE,
    "--paste-global": _NO_PASTE,
    "--proxy-protocol": _NO_PROXY_PROTOCOL,
    "--proxy-allow-from": _NO_PROXY_PROTOCOL,
    "--protocol": "HTTP/1.1 is spoken here; any other over TCP can be an app, stream:module:attr",
    "--uwsgi-allow-from": "uWSGI's protocol isn't spoken here: let what is in front speak HTTP",
    "--keyfile": _NO_TLS,
    "--certfile": _NO_TLS,
    "--ssl-version": _NO_TLS,
    "--cert-reqs": _NO_TLS,
    "--ca-certs": f"{_NO_TLS}; --upstream-ca is what https:// upstreams are trusted by",
    "--suppress-ragged-eofs": _NO_TLS,
    "--do-handshake-on-connect": _NO_TLS,
    "--ciphers": _NO_TLS,
    "--http-protocols": _NO_HTTP2,
    "--http2-cleartext": _NO_HTTP2,
    "--http2-max-concurrent-streams": _NO_HTTP2,
    "--http2-initial-window-size": _NO_HTTP2,
    "--http2-max-frame-size": _NO_HTTP2,
    "--http2-max-header-list-size": _NO_HTTP2,
    "--permit-obsolete-folding": _STRICT,
    "--strip-header-spaces": _STRICT,
    "--permit-unconventional-http-method": _STRICT,
    "--permit-unconventional-http-version": _STRICT,
    "--casefold-http-method": _STRICT,
    "--forwarder-headers": _NO_MAPPING,
    "--header-map": _NO_MAPPING,
    "--asgi-loop": "--engine says it: trio, or uvicorn, which takes uvloop where that is installed",
    "--asgi-disconnect-grace-period": "an app hears of a disconnect at once, and isn't cancelled",
    "--http-parser": _ONE_PARSER,
    "--dirty-app": _NO_DIRTY,
    "--dirty-workers": _NO_DIRTY,
    "--dirty-timeout": _NO_DIRTY,
    "--dirty-threads": _NO_DIRTY,
    "--dirty-graceful-timeout": _NO_DIRTY,
    "--control-socket-mode": "it is always 0600: for you and root",
    # -- uvicorn
    "--version": "it is balancer --version",
    "--reload-delay": "changes are waited for, and those within 50 ms make one reload",
    "--loop": "--engine says it: trio, or uvicorn, which takes uvloop where that is installed",
    "--http": _ONE_PARSER,
    "--http2": _NO_HTTP2,
    "--ws": _ONE_PARSER,
    "--env-file": "set variables by --env NAME=VALUE, or have what starts the server read the file",
    "--use-colors": "the log has no colours",
    "--no-use-colors": "the log has no colours, ever",
    "--proxy-headers": "always so, for the peers in --forwarded-allow-ips",
    "--server-header": "no Server header is sent: set it in the app",
    "--no-server-header": "no Server header is sent, ever",
    "--date-header": "every response has a Date",
    "--no-date-header": "every response has a Date, as RFC 9110 6.6.1 wants it",
    "--ssl-keyfile": _NO_TLS,
    "--ssl-certfile": _NO_TLS,
    "--ssl-keyfile-password": _NO_TLS,
    "--ssl-cert-reqs": _NO_TLS,
    "--ssl-ca-certs": f"{_NO_TLS}; --upstream-ca is what https:// upstreams are trusted by",
    "--ssl-ciphers": _NO_TLS,
    "--header": "headers of responses are set by the app, or by what is in front",
    "--reset-contextvars": "set and reset them in the app, in a middleware",
}

# uvicorn's switch with a word behind it
_WITH_A_WORD = {"--ws-per-message-deflate": "--no-ws-per-message-deflate"}
_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def without_words(args: Sequence[str]) -> list[str]:
    """``--ws-per-message-deflate false`` as it is written here, where a switch has no word."""
    return list(_without_words([*args]))


def _without_words(args: list[str]) -> Iterator[str]:
    while args:
        arg = args.pop(0)
        flag, equals, word = arg.partition("=")
        negative = _WITH_A_WORD.get(flag)
        if negative is None:
            yield arg
            continue
        if not equals and args and args[0].lower() in _WORDS:
            word = args.pop(0)
        yield arg if word.lower() not in _WORDS else flag if _WORDS[word.lower()] else negative
