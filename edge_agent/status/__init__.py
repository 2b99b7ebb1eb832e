"""What the agent tells people on its own machine: a read-only API over HTTP on a UNIX socket, with two verbs that only say things again.

`report` is what is told, `app` the routes, `server` the socket, `place` where it is, `client` the other end. The room knows no agent:
it is given a `report.Desk` and a function that returns the `report.Status`.
"""
