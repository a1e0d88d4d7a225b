"""The ids of the request on every log record, for any logging configuration.

    handler.addFilter(RequestIdFilter())

or, in a configuration for :func:`logging.config.dictConfig`::

    "filters": {"ids": {"()": "seawall.logging.RequestIdFilter"}},
    "formatters": {"lines": {"format": "%(asctime)s %(request_id)s %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler",
                         "formatter": "lines", "filters": ["ids"]}},
"""

from logging import Filter, LogRecord

from seawall.policies.request_id import request_id, trace_id


class RequestIdFilter(Filter):
    """Sets ``request_id`` and ``trace_id`` on each record; ``""`` outside a request.

    For handlers: a logger's own filters do not see what the loggers below it log. It keeps
    what a record has already.
    """

    def filter(self, record: LogRecord) -> bool:
        for name, value in (("request_id", request_id()), ("trace_id", trace_id())):
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
