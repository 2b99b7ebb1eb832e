"""Plants of other kinds than the demo line: one description of any plant, played over real protocols, and what it truly makes.

A scenario of ``version: 2`` names devices with their tags, and what happens: orders, lots, states, strokes. Everything else follows from it.
"""
