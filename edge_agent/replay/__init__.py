"""What a line said, kept and derived again without it: recordings, their replay, and tests of a mapping. Nothing here opens a socket but `record`."""
