"""gunicorn's settings by their names here.

Most have the same name and need no entry.  A name that is in ``LACKING``, or whose counterpart this
version doesn't have, is reported; one that gunicorn doesn't have either is the file's own variable.

Source: gunicorn 23's settings reference.
"""

from __future__ import annotations

from balancer.settings.table import SETTINGS

__all__ = ["LACKING", "is_off", "translate"]

RENAMED = {
    "access_log_format": "access_logformat",
    "accesslog": "access_logfile",
    "keepalive": "keep_alive",
    "loglevel": "log_level",
    "pidfile": "pid",
    "preload_app": "preload",
    "proc_name": "name",
    "wsgi_app": "app",
}
LACKING = frozenset({
    "ca_certs", "capture_output", "casefold_http_method",
    "cert_reqs", "certfile", "check_config", "ciphers", "daemon", "default_proc_name",
    "disable_redirect_access_to_syslog", "do_handshake_on_connect", "dogstatsd_tags",
    "enable_stdio_inheritance", "errorlog", "forwarder_headers", "header_map",
    "initgroups", "keyfile", "limit_request_field_size", "logconfig", "logconfig_dict",
    "logconfig_json", "logger_class", "paste", "permit_obsolete_folding",
    "permit_unconventional_http_method", "permit_unconventional_http_version", "pre_exec",
    "print_config", "proxy_allow_ips", "proxy_protocol", "pythonpath", "reload_engine",
    "reload_extra_files", "reuse_port", "secure_scheme_headers", "sendfile", "spew", "ssl_context",
    "ssl_version", "statsd_host", "statsd_prefix", "strip_header_spaces",
    "suppress_ragged_eofs", "syslog", "syslog_addr", "syslog_facility", "syslog_prefix",
    "tmp_upload_dir", "umask", "worker_class", "worker_tmp_dir",
})  # fmt: skip

WORKER_CLASSES = {
    "sync": ("interface", "wsgi"),
    "gthread": ("interface", "wsgi"),
    "asgi": ("interface", "asgi"),
    "uvicorn.workers.UvicornWorker": ("engine", "uvicorn"),
    "uvicorn.workers.UvicornH11Worker": ("engine", "uvicorn"),
    "uvicorn_worker.UvicornWorker": ("engine", "uvicorn"),
    "uvicorn_worker.UvicornH11Worker": ("engine", "uvicorn"),
}
# a field of gunicorn's default size fits into our default head
USUAL_FIELD = 8190
OTHER_FIELDS = 32768


def translate(name: str, value: object) -> tuple[str, object] | None:
    """The setting here and its value; None when there is none."""
    if name == "worker_class":
        setting, value = WORKER_CLASSES.get(_class_name(value), ("", value))
    elif name == "limit_request_field_size":
        return _field_size(value)
    else:
        setting = RENAMED.get(name, name)
    return (setting, value) if setting in SETTINGS else None


def is_off(name: str, value: object) -> bool:
    """Whether a setting that is lacking says no more than how things are without it."""
    if name == "errorlog":
        return value == "-"
    if name == "limit_request_field_size":
        return value == USUAL_FIELD
    return not value


def _class_name(value: object) -> str:
    if isinstance(value, type):
        value = f"{value.__module__}.{value.__qualname__}"
    return str(value)


def _field_size(value: object) -> tuple[str, object] | None:
    """Only the whole head has a limit here; a larger field than usual needs a larger head."""
    if isinstance(value, int) and not isinstance(value, bool) and value > USUAL_FIELD:
        return "limit_request_head", value + OTHER_FIELDS
    return None
