"""The durable outbox and the rule state in one SQLite store; `open_buffer` opens it, `MemoryBuffer` is the same contract without a disk.

Top to bottom: `sqlite` bridges the event loop to the one writer thread; `outbox` is what that thread does (commit policy, numbers,
failure of the disk); `store` is the SQL of one open database; `schema` its tables; `evict`, `loss` and `ring` say what goes when
there is no room, and how that is declared; `identity` keeps the lock, the epoch and what to do with a damaged file.
"""
