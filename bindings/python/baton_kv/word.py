# SPDX-License-Identifier: Apache-2.0
"""The base of the enumerations: the values are those of baton.h, the text is the library's name."""

import enum


class Word(enum.IntEnum):
    """One of a few words; str() gives it as the command `baton` and the logs write it."""

    def __str__(self) -> str:
        return self.name.lower()
