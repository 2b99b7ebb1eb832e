"""Drivers in child processes: what crosses between agent and worker, both ends of it, and who starts a worker that ended."""
