"""Floor 0: the nouns every room speaks of. No I/O, no clocks, no imports from other rooms."""
