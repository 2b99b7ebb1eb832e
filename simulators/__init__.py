"""The simulated line: an independent witness that plays a scenario and knows its truth. Imports nothing from the agent."""
