"""How much of the store is kept in memory."""

from __future__ import annotations

from contextlib import closing

import apsw

from edge_agent.buffer.schema import open_database


def test_a_store_that_writes_much_keeps_two_megabytes_of_pages(tmp_path):
    """However much is written and read, the store's pages in memory are 2 MiB and their headers."""
    with closing(open_database(tmp_path / "store.db", 1000)) as database:
        for round_ in range(16):
            with database:
                for row in range(8):
                    number = round_ * 8 + row
                    database.execute("INSERT INTO state VALUES ('o', ?, 0, ?)", (f"{number:04}", bytes(130_000)))
        assert database.execute("SELECT sum(length(value)) FROM state").get == 128 * 130_000
        used, _ = database.status(apsw.SQLITE_DBSTATUS_CACHE_USED)
    assert used < 3_000_000
