-- name: load_conversations
SELECT *
FROM conversation
WHERE ended_at IS NULL
   OR (received_at IS NULL AND state <> 'withdrawn' AND ended_at > $1)

-- name: all_conversations
SELECT * FROM conversation

-- name: find_conversations
SELECT * FROM conversation WHERE conversation_id = ANY($1::text[])

-- name: write_conversations
INSERT INTO conversation (
    conversation_id, thread, asker, target, agent_id, resolution, question, asked_at, expires_at, task_id, attempt,
    state, answer, reason, delivered_at, ended_at, received_at
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
    $9::timestamptz[], $10::text[], $11::integer[], $12::text[], $13::text[], $14::text[], $15::timestamptz[],
    $16::timestamptz[], $17::timestamptz[]
)
ON CONFLICT (conversation_id) DO UPDATE SET
    task_id = excluded.task_id,
    attempt = excluded.attempt,
    state = excluded.state,
    answer = excluded.answer,
    reason = excluded.reason,
    delivered_at = excluded.delivered_at,
    ended_at = excluded.ended_at,
    received_at = excluded.received_at

-- name: load_messages
SELECT * FROM message WHERE ended_at IS NULL

-- name: all_messages
SELECT * FROM message

-- name: find_messages
SELECT message_id FROM message WHERE message_id = ANY($1::text[])

-- name: insert_messages
INSERT INTO message (
    message_id, sender, target, agent_id, resolution, content, sent_at, expires_at, state, reason, ended_at
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
    $9::text[], $10::text[], $11::timestamptz[]
)

-- name: end_messages
UPDATE message SET state = ended.state, reason = ended.reason, ended_at = ended.ended_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS ended (message_id, state, reason, ended_at)
WHERE message.message_id = ended.message_id

-- name: load_waits
SELECT * FROM conversation_wait WHERE questions <> '[]'

-- name: write_waits
INSERT INTO conversation_wait (task_id, attempt, agent_id, questions, paused_s, waiting_since, pause_until)
SELECT * FROM unnest(
    $1::text[], $2::integer[], $3::text[], $4::text[], $5::float8[], $6::timestamptz[], $7::timestamptz[]
)
ON CONFLICT (task_id, attempt) DO UPDATE SET
    questions = excluded.questions,
    paused_s = excluded.paused_s,
    waiting_since = excluded.waiting_since,
    pause_until = excluded.pause_until

-- name: paused
SELECT task_id, attempt, paused_s
FROM unnest($1::text[], $2::integer[]) AS asked (task_id, attempt)
JOIN conversation_wait USING (task_id, attempt)

-- name: load_graph
SELECT spec FROM communication_graph WHERE graph_id = $1

-- name: write_graph
INSERT INTO communication_graph (graph_id, spec) VALUES ($1, $2)
ON CONFLICT (graph_id) DO UPDATE SET spec = excluded.spec

-- name: delete_graph
DELETE FROM communication_graph WHERE graph_id = $1

-- name: load_agents
SELECT agent_id, name, instance, state, slots, answers_while_busy FROM agent

-- name: find_agents
SELECT agent_id, name, instance, state, slots, answers_while_busy FROM agent WHERE agent_id = ANY($1::text[])

-- name: find_attempts
SELECT task_id, attempt, agent_id, ended_at IS NULL AS open
FROM unnest($1::text[], $2::integer[]) AS asked (task_id, attempt)
JOIN attempt USING (task_id, attempt)

-- name: last_attempts
SELECT task.task_id, last.attempt, last.agent_id, last.ended_at IS NULL AS open
FROM task
LEFT JOIN LATERAL (
    SELECT attempt, agent_id, ended_at FROM attempt WHERE attempt.task_id = task.task_id ORDER BY attempt DESC LIMIT 1
) AS last ON true
WHERE task.task_id = ANY($1::text[])

-- name: attempts_in_phases
SELECT task.phase_id, attempt.task_id, attempt.attempt, attempt.agent_id, true AS open
FROM task
JOIN attempt USING (task_id)
WHERE task.phase_id = ANY($1::text[]) AND task.ended_at IS NULL AND attempt.ended_at IS NULL
ORDER BY attempt.assigned_at, attempt.agent_id, attempt.task_id

-- name: list_conversations
SELECT *
FROM conversation
WHERE ($1::timestamptz IS NULL OR (asked_at, conversation_id) < ($1, $2::text))
  AND ($3::text IS NULL OR asker = $3)
  AND ($4::text IS NULL OR agent_id = $4)
  AND ($5::text IS NULL OR thread = $5)
  AND ($6::text[] IS NULL OR state = ANY($6))
ORDER BY asked_at DESC, conversation_id DESC
LIMIT $7

-- name: expired_conversations
SELECT conversation_id FROM conversation WHERE ended_at < $1 ORDER BY ended_at LIMIT $2

-- name: delete_conversations
DELETE FROM conversation WHERE conversation_id = ANY($1::text[])

-- name: graph_is_told
SELECT EXISTS (
    SELECT FROM event WHERE writer = $1 AND entity_id = $2 AND type = 'graph.set' AND recorded_at >= $3
)

-- name: forget_messages
DELETE FROM message WHERE message_id = ANY(ARRAY(SELECT message_id FROM message WHERE ended_at < $1 LIMIT 5000))

-- name: forget_waits
DELETE FROM conversation_wait
WHERE ctid = ANY(ARRAY(
    SELECT wait.ctid
    FROM conversation_wait AS wait
    WHERE waiting_since IS NULL AND $1::timestamptz IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM attempt WHERE attempt.task_id = wait.task_id AND attempt.attempt = wait.attempt
      )
    LIMIT 5000
))
