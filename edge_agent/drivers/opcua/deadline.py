"""A bound in machine time around what the OPC UA library does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Bound what stands inside; raises TimeoutError.

    An answer that comes in the moment in which the time is over makes the library raise a subclass of CancelledError, which asyncio.timeout
    does not take for its own: the caller would be cancelled with nobody having asked for that, and a task of a group would end without a word.
    """
    async with asyncio.timeout(seconds):
        try:
            yield
        except asyncio.CancelledError as error:
            if type(error) is asyncio.CancelledError:
                raise
            raise asyncio.CancelledError from error
