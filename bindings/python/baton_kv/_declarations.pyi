# SPDX-License-Identifier: Apache-2.0
# Made from baton.h when the package is built.
from typing import Any

ffi: Any
