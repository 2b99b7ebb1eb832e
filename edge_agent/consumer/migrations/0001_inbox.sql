-- The inbox: where each stream stands, and every event that was applied. Times: text is RFC 3339 in UTC, *_us are microseconds since 1970.

-- One row per CloudEvents source. Everything up to "high" of "epoch" is in the books or in "losses".
-- complete_to_us: no event with an earlier time will follow unless it is flagged late.
CREATE TABLE streams (
  source TEXT PRIMARY KEY,
  epoch TEXT NOT NULL,
  high BIGINT NOT NULL,
  complete_to TEXT,
  complete_to_us BIGINT
);

-- The epochs of a stream in their order; ended_high is set when the next one began.
CREATE TABLE epochs (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  place BIGINT NOT NULL,
  ended_high BIGINT,
  PRIMARY KEY (source, epoch)
);

-- Every event that was applied, whole. (source, id) is the belt beside the sequence. "place" is the order of application over all streams.
-- covers = 1: a loss record that took the place of other events; void = 1: it repeats what was booked under stands_for.
CREATE TABLE inbox (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  place BIGINT NOT NULL,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  subject TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  recorded TEXT NOT NULL,
  late INTEGER NOT NULL,
  covers INTEGER NOT NULL,
  void INTEGER NOT NULL,
  stands_for TEXT,
  body TEXT NOT NULL,
  PRIMARY KEY (source, epoch, seq),
  UNIQUE (source, id)
);
CREATE INDEX inbox_stands_for ON inbox (source, stands_for);
CREATE INDEX inbox_name_at ON inbox (name, at_us);
CREATE INDEX inbox_place ON inbox (place);

-- What came too early and waits for what is before it.
CREATE TABLE parked (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  seq BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (source, epoch, seq)
);

-- Numbers that will never come. how: declared (a collection.gap says so, named in by_id), not_kept (the agent answered that it has them no
-- more), epoch_ended (the store they were in is gone).
CREATE TABLE losses (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  first_seq BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  how TEXT NOT NULL,
  by_id TEXT,
  PRIMARY KEY (source, epoch, first_seq)
);

-- What a person should look at: events that were not booked, and events that could not be read. Kept with their bodies.
CREATE TABLE consumer_alarms (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  at TEXT NOT NULL,
  detail TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (source, id, kind)
);

-- Checkpoints that are ahead of what is applied. A row goes when high has reached it.
CREATE TABLE checkpoints (
  source TEXT NOT NULL,
  epoch TEXT NOT NULL,
  last_seq BIGINT NOT NULL,
  published_seq BIGINT NOT NULL,
  watermark_us BIGINT,
  totals TEXT,
  PRIMARY KEY (source, epoch, last_seq)
);
