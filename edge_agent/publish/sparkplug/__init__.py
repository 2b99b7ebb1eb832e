"""Sparkplug B 3.0 (ISO/IEC 20237): the agent as an edge node, its work units as devices. A mirror of states and values.

Countable facts stay in the event stream: QoS 0 and a number of eight bits cannot prove that everything has arrived. ``tck-id-...`` in the
comments are the names of the specification's normative statements.
"""
