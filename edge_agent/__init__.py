"""edge-agent: collects PLC data on a line gateway and delivers production events an MES can trust."""

__version__ = "0.1.0"
