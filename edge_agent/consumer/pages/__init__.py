"""The page templates, filled by `page`."""
