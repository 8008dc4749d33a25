-- What a sender's flood had refused within a minute is one row. Alone, a message has no minute, and many rows may.

ALTER TABLE reject
    ADD COLUMN kind    text NOT NULL DEFAULT 'message',
    ADD COLUMN count   bigint NOT NULL DEFAULT 1,
    ADD COLUMN last_at timestamptz,
    ADD COLUMN minute  timestamptz;
UPDATE reject SET last_at = rejected_at;
ALTER TABLE reject ALTER COLUMN last_at SET NOT NULL;
CREATE UNIQUE INDEX reject_flood ON reject (service, sender, kind, minute);
