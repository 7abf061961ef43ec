"""Structured logs: one JSON object a line. No token, no query, no picture ever stands in them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("mmsearch.server")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; members given as ``extra={"data": {…}}`` stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        members: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        members |= getattr(record, "data", {})
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        return json.dumps(members, ensure_ascii=True, default=str)


def event(message: str, *, level: int = logging.INFO, note: Mapping[str, object] = {}, **data: Any) -> None:  # noqa: B006 never changed
    """Log one thing that happened, with what is known of it."""
    LOGGER.log(level, message, extra={"data": {**data, **note}})


def to_stderr(level: int = logging.INFO) -> None:
    """Send the service's log, and uvicorn's, to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("mmsearch.server", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler] if name != "uvicorn.error" else [], name == "uvicorn.error"
        logger.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True  # it writes the query string, where a login link has its token
