-- What an MES asks.

-- Everything up to complete_to is here or named in missing_ranges.
CREATE VIEW complete_to AS
SELECT source, epoch, high, complete_to, complete_to_us FROM streams;

-- The numbers that are not here. waiting: they may still come and are asked for. Otherwise why they will not.
CREATE VIEW missing_ranges AS
SELECT p.source, p.epoch, p.before_seq + 1 AS first_seq, p.seq - 1 AS last_seq, 'waiting' AS how
FROM (
  SELECT k.source, k.epoch, k.seq, COALESCE(LAG(k.seq) OVER (PARTITION BY k.source, k.epoch ORDER BY k.seq), s.high) AS before_seq
  FROM parked k JOIN streams s ON s.source = k.source AND s.epoch = k.epoch
) p
WHERE p.seq > p.before_seq + 1
UNION ALL
SELECT c.source, c.epoch, c.seen + 1, c.published_seq, 'waiting'
FROM (
  SELECT b.source, b.epoch, MAX(b.published_seq) AS published_seq,
    COALESCE(MAX(k.last_parked), CASE WHEN MAX(s.epoch) = b.epoch THEN MAX(s.high) ELSE 0 END) AS seen
  FROM checkpoints b
  LEFT JOIN streams s ON s.source = b.source
  LEFT JOIN (SELECT source, epoch, MAX(seq) AS last_parked FROM parked GROUP BY source, epoch) k ON k.source = b.source AND k.epoch = b.epoch
  GROUP BY b.source, b.epoch
) c
WHERE c.published_seq > c.seen
UNION ALL
SELECT source, epoch, first_seq, last_seq, how FROM losses;

-- The state of each unit. STALE: nobody can say, because its agent is offline or the device of its state is away.
CREATE VIEW current_state AS
SELECT n.source, n.subject,
  CASE WHEN COALESCE(a.status, 'offline') <> 'online' OR COALESCE(d.up, 1) = 0 THEN 'STALE' ELSE n.category END AS state,
  n.state_code, n.state_name, n.category AS last_category, n.since, n.mode, n.order_id, n.product, n.lot, n.shift, n.as_of,
  a.status AS agent_status, d.up AS device_up
FROM unit_now n
LEFT JOIN agents a ON SUBSTR(n.source, 1, LENGTH(a.prefix) + 1) = a.prefix || '/'
LEFT JOIN units u ON u.subject = n.subject
LEFT JOIN devices d ON d.prefix = a.prefix AND d.device = u.state_device;

-- What each order made. good: its own counter, or total - scrap - rework. A paused and resumed order is one row.
CREATE VIEW order_totals AS
SELECT t.subject, t.order_id, t.total, t.scrap, t.rework,
  CASE WHEN t.goods > 0 THEN t.good ELSE t.total - t.scrap - t.rework END AS good, t.corrections, t.late
FROM (
  SELECT subject, order_id,
    SUM(CASE WHEN disposition = 'total' THEN delta ELSE 0 END) AS total,
    SUM(CASE WHEN disposition = 'scrap' THEN delta ELSE 0 END) AS scrap,
    SUM(CASE WHEN disposition = 'rework' THEN delta ELSE 0 END) AS rework,
    SUM(CASE WHEN disposition = 'good' THEN delta ELSE 0 END) AS good,
    SUM(CASE WHEN disposition = 'good' THEN 1 ELSE 0 END) AS goods,
    SUM(CASE WHEN delta < 0 THEN delta ELSE 0 END) AS corrections,
    SUM(CASE WHEN late = 1 THEN delta ELSE 0 END) AS late
  FROM counts WHERE order_id IS NOT NULL AND unassigned = 0
  GROUP BY subject, order_id
) t;

-- Amounts that no order can be named for: made across a change that nobody saw (spans), or told by the total alone (reconciled).
CREATE VIEW unassigned_counts AS
SELECT source, epoch, seq, subject, counter, disposition, delta, uom, kind, begins, at, begins_us, at_us, spans, mode, shift
FROM counts WHERE unassigned = 1;

-- A count that was booked to an order after the order had ended: post it as an adjustment, published facts never change.
CREATE VIEW late_for_order AS
SELECT c.source, c.epoch, c.seq, c.subject, c.order_id, c.counter, c.disposition, c.delta, c.at, o.ended
FROM counts c
JOIN orders o ON o.source = c.source AND o.order_id = c.order_id
JOIN inbox i ON i.source = c.source AND i.epoch = c.epoch AND i.seq = c.seq
WHERE o.ended IS NOT NULL AND i.place > (
  SELECT MAX(e.place) FROM order_steps s JOIN inbox e ON e.source = s.source AND e.epoch = s.epoch AND e.seq = s.seq
  WHERE s.source = o.source AND s.order_id = o.order_id AND s.step IN ('completed', 'aborted')
);
