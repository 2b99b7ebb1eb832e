-- The plant as it is now: who lives, what stands still, what needs a person.

-- prefix: how the sources of the agent's streams begin. base: where its topics begin.
CREATE TABLE agents (
  prefix TEXT PRIMARY KEY,
  base TEXT NOT NULL,
  status TEXT NOT NULL,
  session TEXT,
  version TEXT,
  health TEXT
);

CREATE TABLE devices (
  prefix TEXT NOT NULL,
  device TEXT NOT NULL,
  up INTEGER NOT NULL,
  error TEXT,
  last_good TEXT,
  PRIMARY KEY (prefix, device)
);

-- What a unit's _meta says; state_device is the device that its state is read from.
CREATE TABLE units (
  subject TEXT PRIMARY KEY,
  unit TEXT NOT NULL,
  state_device TEXT,
  meta TEXT NOT NULL
);

-- The last that was told of each unit.
CREATE TABLE unit_now (
  source TEXT PRIMARY KEY,
  subject TEXT NOT NULL,
  state_code TEXT,
  state_name TEXT,
  category TEXT,
  since TEXT,
  mode TEXT,
  order_id TEXT,
  product TEXT,
  lot TEXT,
  shift TEXT,
  as_of TEXT NOT NULL,
  as_of_us BIGINT NOT NULL
);

CREATE TABLE faults (
  source TEXT NOT NULL,
  code TEXT NOT NULL,
  device TEXT NOT NULL,
  raised TEXT,
  cleared TEXT,
  message TEXT,
  severity INTEGER,
  remedy TEXT,
  PRIMARY KEY (source, code, device)
);

-- What a part should take (ISO 22400: planned run time per item), for OEE; fill it from your master data. Longest match of the two wins.
CREATE TABLE ideals (
  subject TEXT NOT NULL,
  product TEXT NOT NULL,
  seconds_per_part DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (subject, product)
);
