"""gunicorn's settings by their names here.

Most have the same name and need no entry.  A name that is in ``LACKING``, or whose counterpart this
version doesn't have, is reported; one that gunicorn doesn't have either is the file's own variable.

Source: gunicorn's settings reference, of versions 23 and 27.
"""

from __future__ import annotations

from balancer.settings.table import SETTINGS

__all__ = ["LACKING", "is_off", "translate"]

RENAMED = {
    "access_log_format": "access_logformat",
    "accesslog": "access_logfile",
    "asgi_lifespan": "lifespan",
    "control_socket": "control",
    "control_socket_disable": "no_control",
    "keepalive": "keep_alive",
    "loglevel": "log_level",
    "pidfile": "pid",
    "preload_app": "preload",
    "proc_name": "name",
    "websocket_max_message_size": "ws_max_size",
    "wsgi_app": "app",
}
LACKING = frozenset({
    "asgi_disconnect_grace_period", "asgi_loop", "ca_certs", "capture_output",
    "casefold_http_method", "cert_reqs", "certfile", "check_config", "ciphers", "config",
    "control_socket_mode", "daemon", "default_proc_name", "dirty_apps",
    "dirty_graceful_timeout", "dirty_post_fork", "dirty_threads", "dirty_timeout",
    "dirty_worker_exit", "dirty_worker_init", "dirty_workers",
    "disable_redirect_access_to_syslog", "do_handshake_on_connect", "dogstatsd_tags",
    "enable_backlog_metric", "enable_stdio_inheritance", "errorlog", "forwarder_headers",
    "header_map", "http2_cleartext", "http2_initial_window_size",
    "http2_max_concurrent_streams", "http2_max_frame_size", "http2_max_header_list_size",
    "http_parser", "http_protocols", "keyfile", "limit_request_field_size",
    "logconfig", "logconfig_dict", "logconfig_json", "logger_class", "on_dirty_starting",
    "paste", "permit_obsolete_folding", "permit_unconventional_http_method",
    "permit_unconventional_http_version", "pre_exec", "print_config", "protocol",
    "proxy_allow_ips", "proxy_protocol", "pythonpath", "raw_paste_global_conf", "reload_engine",
    "reload_extra_files", "reuse_port", "secure_scheme_headers", "sendfile", "spew",
    "ssl_context", "ssl_version", "statsd_host", "statsd_prefix", "strip_header_spaces",
    "suppress_ragged_eofs", "syslog", "syslog_addr", "syslog_facility", "syslog_prefix",
    "tmp_upload_dir", "uwsgi_allow_ips", "worker_class", "worker_tmp_dir",
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
# values that say no more than how things are here anyhow
USUAL = {
    "asgi_loop": "auto", "errorlog": "-", "http2_cleartext": "off", "http_parser": "auto",
    "http_protocols": "h1", "protocol": "http", "proxy_protocol": "off", "reload_engine": "auto",
}  # fmt: skip
# a field of gunicorn's default size fits into our default head
USUAL_FIELD = 8190
OTHER_FIELDS = 32768


def translate(name: str, value: object) -> tuple[str, object] | None:
    """The setting here and its value; None when there is none."""
    if name == "worker_class":
        setting, value = WORKER_CLASSES.get(_class_name(value), ("", value))
    elif name == "limit_request_field_size":
        return _field_size(value)
    elif name == "umask" and type(value) is int:
        return name, f"{value:03o}"  # which of a number's spellings it was is lost
    else:
        setting = RENAMED.get(name, name)
    return (setting, value) if setting in SETTINGS else None


def is_off(name: str, value: object) -> bool:
    """Whether a setting that is lacking says no more than how things are without it."""
    if name in USUAL:
        return not value or value == USUAL[name]
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
