# SPDX-License-Identifier: Apache-2.0
"""What an engine logs, to Python's logging."""

import logging
from typing import Any

from baton_kv._library import ffi, text

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)  # by baton_log_level


def log_callback(logger: logging.Logger) -> Any:
    """A baton_log_fn.  It runs on the thread that drives the engine, and takes the GIL; to be kept
    until the engine has ended."""

    def log(_: Any, level: int, message: Any) -> None:
        logger.log(LEVELS[level], "%s", text(message))

    return ffi.callback("void(void *, baton_log_level, const char *)", log)
