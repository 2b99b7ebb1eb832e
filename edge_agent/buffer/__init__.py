"""The durable outbox and the rule state in one SQLite store; `open_buffer` opens it, `MemoryBuffer` is the same contract without a disk.

Top to bottom: `sqlite` bridges the event loop to the one writer thread; `outbox` is what that thread does (when to commit, what to
answer while the disk is out of order), `commit` how a batch reaches the disk, `delivery` what has left; `store` is the SQL over one
`database`, `schema` its tables, `opening` and `salvage` how it is opened whatever happened to it; `numbering`, `loss` and `ring` are pure;
`evict` says what goes when there is no room; `identity` keeps the lock and the epoch. The format stands in docs/buffer-format.md.
"""
