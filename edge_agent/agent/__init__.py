"""Floor 3: wiring and supervision; the only floor that knows who is connected to whom."""
