"""Certificates for a device that speaks Modbus/TCP Security, made once for all trials."""

from __future__ import annotations

import functools
import ssl

import trustme


@functools.cache
def authority() -> trustme.CA:
    """Who signed the device's certificate."""
    return trustme.CA()


@functools.cache
def server_context() -> ssl.SSLContext:
    """Return what the device's port speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(context)
    return context
