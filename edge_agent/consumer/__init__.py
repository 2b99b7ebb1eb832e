"""What an MES integrator installs: production events from the broker into a database, each exactly once, with every hole named.

* `event` reads a message, `apply` decides what an event does given where its stream stands (pure), `totals` keeps counts true to the
  cumulative totals (pure), `book` says which rows an event writes (pure).
* `database` with `sqlite` and `postgres` is where it is kept, `migrations` the numbered schema, `store` the one transaction.
* `consume` is the program: MQTT in (`mqtt`), commit, acknowledge, ask for what is missing (`holes`), pass on (`rest`).
* `timeline`, `oee`, `completeness` and `report` compute from the tables alone; `page` makes the shift report.

It shares the model's words with the agent and nothing else: the contract is the published one.
"""
