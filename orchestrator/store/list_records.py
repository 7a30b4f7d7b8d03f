"""What is recorded of a list of items that still grows. The other records of lists are in `records`."""

from __future__ import annotations

import msgspec


class ListGrew(msgspec.Struct, frozen=True, tag="grew", kw_only=True):
    """The list of a job grows: its first `count` items stand durably, in the first `size` bytes of its file; `crc`: their CRC-32.

    What stands behind them counts for nothing. `ItemsListed` tells that all items stand there.
    """

    job: str
    count: int
    size: int
    crc: int
