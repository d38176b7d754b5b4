# SPDX-License-Identifier: Apache-2.0
"""libbaton, and what C and Python have to translate between each other.

A call into C lets go of the GIL until it returns.
"""

import pathlib
from typing import Any

from baton_kv._declarations import ffi as ffi

# Kept for good: a library that is unloaded while its threads run would end the process.
lib: Any = ffi.dlopen(str(pathlib.Path(__file__).with_name("libbaton.so")))

WATERMARK_END: int = lib.BATON_WATERMARK_END


def text(chars: Any) -> str:
    """A C string as text; what is no UTF-8 in it is shown, not refused."""
    return str(ffi.string(chars).decode(errors="backslashreplace"))


def version() -> str:
    """The version of the library that is inside."""
    return text(lib.baton_version())
