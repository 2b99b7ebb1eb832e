-- Events on their way to an MES that is called over HTTP. A row goes when the MES has taken it; aside = 1: it refused for good, reason says why.
CREATE TABLE rest_outbox (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  place BIGINT NOT NULL,
  tries INTEGER NOT NULL,
  aside INTEGER NOT NULL,
  reason TEXT,
  body TEXT NOT NULL,
  PRIMARY KEY (source, id)
);
CREATE INDEX rest_outbox_place ON rest_outbox (aside, place);
