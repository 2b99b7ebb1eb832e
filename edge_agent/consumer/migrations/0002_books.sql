-- The books: what the events say, by what they say it of. (source, epoch, seq) leads back to the event in the inbox.

-- How far each counter and meter is booked.
CREATE TABLE counters (
  source TEXT NOT NULL,
  counter TEXT NOT NULL,
  epoch TEXT NOT NULL,
  total TEXT NOT NULL,
  by_total INTEGER NOT NULL,
  disposition TEXT NOT NULL,
  uom TEXT,
  PRIMARY KEY (source, counter)
);

-- Every amount. kind: told (an event's delta) or reconciled (only the cumulative total tells it). A correction is negative.
-- unassigned = 1: it cannot be told which order it belongs to; spans names what changed meanwhile.
CREATE TABLE counts (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  part INTEGER NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  begins TEXT,
  begins_us BIGINT,
  counter TEXT NOT NULL,
  disposition TEXT NOT NULL,
  delta NUMERIC NOT NULL,
  total NUMERIC NOT NULL,
  uom TEXT,
  kind TEXT NOT NULL,
  order_id TEXT,
  product TEXT,
  lot TEXT,
  mode TEXT,
  shift TEXT,
  quality TEXT,
  derivation TEXT,
  late INTEGER NOT NULL,
  unassigned INTEGER NOT NULL,
  spans TEXT NOT NULL,
  reason TEXT,
  PRIMARY KEY (source, epoch, seq, part)
);
CREATE INDEX counts_order ON counts (order_id);
CREATE INDEX counts_at ON counts (source, at_us);

-- origin: change (state.changed) or snapshot (what stood when somebody looked; since when is "at").
CREATE TABLE states (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  origin TEXT NOT NULL,
  code TEXT,
  name TEXT NOT NULL,
  category TEXT NOT NULL,
  continuity TEXT,
  reason_code TEXT,
  reason_text TEXT,
  order_id TEXT,
  mode TEXT,
  late INTEGER NOT NULL,
  PRIMARY KEY (source, epoch, seq)
);
CREATE INDEX states_at ON states (source, at_us);

CREATE TABLE modes (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  code TEXT,
  name TEXT,
  PRIMARY KEY (source, epoch, seq)
);

CREATE TABLE downtimes (
  source TEXT NOT NULL,
  downtime_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  began TEXT,
  began_us BIGINT,
  ended TEXT,
  ended_us BIGINT,
  duration_s DOUBLE PRECISION,
  category TEXT,
  reason_code TEXT,
  reason_text TEXT,
  first_out_alarm TEXT,
  micro INTEGER,
  order_id TEXT,
  shift TEXT,
  PRIMARY KEY (source, downtime_id)
);

CREATE TABLE orders (
  source TEXT NOT NULL,
  order_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  operation TEXT,
  product TEXT,
  lot TEXT,
  planned_qty NUMERIC,
  state TEXT,
  started TEXT,
  started_us BIGINT,
  ended TEXT,
  ended_us BIGINT,
  totals_at_start TEXT,
  totals_at_end TEXT,
  PRIMARY KEY (source, order_id)
);

-- Each step of an order's life: started, paused, resumed, completed, aborted.
CREATE TABLE order_steps (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  order_id TEXT NOT NULL,
  step TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  PRIMARY KEY (source, epoch, seq)
);

CREATE TABLE alarms (
  source TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  alarm_id TEXT,
  severity INTEGER,
  class TEXT,
  message TEXT,
  first_out INTEGER,
  raised TEXT,
  raised_us BIGINT,
  cleared TEXT,
  cleared_us BIGINT,
  acknowledged TEXT,
  order_id TEXT,
  PRIMARY KEY (source, instance_id)
);

-- source_key: the key that the PLC gave it; a second one with the same key is the same result.
CREATE TABLE quality (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  source_key TEXT,
  test_id TEXT,
  characteristic TEXT,
  value TEXT,
  uom TEXT,
  lsl TEXT,
  usl TEXT,
  verdict TEXT,
  serial TEXT,
  lot TEXT,
  sample_no TEXT,
  order_id TEXT,
  PRIMARY KEY (source, epoch, seq),
  UNIQUE (source, source_key)
);

CREATE TABLE units_produced (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  source_key TEXT,
  serial TEXT,
  lot TEXT,
  result TEXT,
  station TEXT,
  cycle_id TEXT,
  order_id TEXT,
  PRIMARY KEY (source, epoch, seq),
  UNIQUE (source, source_key)
);

-- Scrap with a known reason. It explains counts and is never added to them.
CREATE TABLE scrap (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  qty NUMERIC,
  uom TEXT,
  reason_code TEXT,
  reason_text TEXT,
  station TEXT,
  serial TEXT,
  order_id TEXT,
  PRIMARY KEY (source, epoch, seq)
);

CREATE TABLE energy (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  part INTEGER NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  begins TEXT,
  begins_us BIGINT,
  meter TEXT NOT NULL,
  carrier TEXT,
  delta NUMERIC NOT NULL,
  total NUMERIC NOT NULL,
  uom TEXT,
  kind TEXT NOT NULL,
  order_id TEXT,
  shift TEXT,
  unassigned INTEGER NOT NULL,
  PRIMARY KEY (source, epoch, seq, part)
);

-- What may be missing of the machine's own data; seq_from/seq_to where events themselves are lost.
CREATE TABLE gaps (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  reason TEXT NOT NULL,
  device TEXT,
  begins TEXT,
  begins_us BIGINT,
  ends TEXT,
  ends_us BIGINT,
  lost TEXT NOT NULL,
  recovered TEXT,
  tags TEXT,
  seq_from BIGINT,
  seq_to BIGINT,
  PRIMARY KEY (source, epoch, seq)
);

CREATE TABLE shifts (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  shift_id TEXT,
  before_id TEXT,
  begins TEXT,
  begins_us BIGINT,
  ends TEXT,
  ends_us BIGINT,
  local_date TEXT,
  tz TEXT,
  utc_offset_min INTEGER,
  totals TEXT,
  PRIMARY KEY (source, epoch, seq)
);

-- The audit trail of counters: rollover, reset, restart, correction, implausible, baseline.
CREATE TABLE discontinuities (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  counter TEXT,
  kind TEXT,
  raw_before TEXT,
  raw_after TEXT,
  counted_delta NUMERIC,
  uncounted_max NUMERIC,
  PRIMARY KEY (source, epoch, seq)
);
