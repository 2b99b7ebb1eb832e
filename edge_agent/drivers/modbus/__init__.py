"""Modbus (TCP, TLS, RTU, ASCII): planned block reads on a fixed grid, every reply checked, only function codes 1 to 4 leave."""
