-- name: load_agents
SELECT agent_id, name, agent_type, endpoint_url, state, drained, capabilities, slots, owner, policy, labels, metadata,
       instance, replaced_instances, registered_at, changed_at, answers_while_busy, wake
FROM agent

-- name: write_agents
INSERT INTO agent (
    agent_id, name, agent_type, endpoint_url, state, drained, capabilities, slots, owner, policy, labels, metadata,
    instance, replaced_instances, registered_at, changed_at, answers_while_busy, wake
)
SELECT agent_id, name, agent_type, endpoint_url, state, drained,
       ARRAY(SELECT json_array_elements_text(capabilities::json)), slots, owner, policy, labels, metadata,
       instance, ARRAY(SELECT json_array_elements_text(replaced_instances::json)), registered_at, changed_at,
       answers_while_busy, wake
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::integer[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[],
    $17::boolean[], $18::text[]
) AS changed (
    agent_id, name, agent_type, endpoint_url, state, drained, capabilities, slots, owner, policy, labels, metadata,
    instance, replaced_instances, registered_at, changed_at, answers_while_busy, wake
)
ON CONFLICT (agent_id) DO UPDATE SET
    name = excluded.name,
    agent_type = excluded.agent_type,
    endpoint_url = excluded.endpoint_url,
    state = excluded.state,
    drained = excluded.drained,
    capabilities = excluded.capabilities,
    slots = excluded.slots,
    owner = excluded.owner,
    policy = excluded.policy,
    labels = excluded.labels,
    metadata = excluded.metadata,
    instance = excluded.instance,
    replaced_instances = excluded.replaced_instances,
    registered_at = excluded.registered_at,
    changed_at = excluded.changed_at,
    answers_while_busy = excluded.answers_while_busy,
    wake = excluded.wake

-- name: delete_agents
DELETE FROM agent WHERE agent_id = ANY($1::text[])

-- name: list_agents
SELECT agent.*, coalesce(busy.slots, 0) AS busy_slots
FROM agent
LEFT JOIN (
    SELECT agent_id, count(*) AS slots FROM attempt WHERE status IN ('assigned', 'running') GROUP BY agent_id
) AS busy USING (agent_id)
WHERE $1::text IS NULL OR agent_id > $1
ORDER BY agent_id
LIMIT $2

-- name: find_agent
SELECT agent.*, (
    SELECT count(*) FROM attempt WHERE attempt.agent_id = agent.agent_id AND status IN ('assigned', 'running')
) AS busy_slots
FROM agent
WHERE agent_id = $1

-- name: present_instance
SELECT instance FROM agent WHERE agent_id = $1 AND state = 'present'

-- name: find_foreign_events
SELECT publisher, event_id
FROM unnest($1::text[], $2::text[]) AS asked (publisher, event_id)
JOIN foreign_event USING (publisher, event_id)

-- name: insert_foreign_events
INSERT INTO foreign_event (publisher, event_id, recorded_at)
SELECT publisher, event_id, $1 FROM unnest($2::text[], $3::text[]) AS new (publisher, event_id)

-- name: load_sessions
SELECT row_to_json(kept)::text AS session
FROM (
    SELECT session_id, ordinal, agent_id, sender, kind, state, content_hash, created_at, timeout_seconds, max_retries,
           retry_delay_seconds, external_ref, completion_action, batch_id, batch_max, task_id, task_attempt,
           simulation_id, attempt, instance, retries_used, lost_count, retry_at, dispatched_at, response_hash, taken,
           action_tries, action_at, reported, progress_text, error, ended_at
    FROM session
    WHERE ended_at IS NULL OR (kind = 'task' AND NOT reported)
    ORDER BY ordinal
) AS kept

-- name: recall_sessions
SELECT row_to_json(kept)::text AS session
FROM (
    SELECT session_id, ordinal, agent_id, sender, kind, state, content_hash, created_at, timeout_seconds, max_retries,
           retry_delay_seconds, external_ref, completion_action, batch_id, batch_max, task_id, task_attempt,
           simulation_id, attempt, instance, retries_used, lost_count, retry_at, dispatched_at, response_hash, taken,
           action_tries, action_at, reported, progress_text, error, ended_at
    FROM session
    WHERE $1::text[] IS NULL OR session_id = ANY($1)
) AS kept

-- name: last_session_ordinal
SELECT coalesce(max(ordinal), 0) FROM session

-- name: write_sessions
INSERT INTO session
SELECT changed.* FROM json_populate_recordset(NULL::session, $1::json) AS changed
ON CONFLICT (session_id) DO UPDATE SET
    state = excluded.state,
    attempt = excluded.attempt,
    instance = excluded.instance,
    retries_used = excluded.retries_used,
    lost_count = excluded.lost_count,
    retry_at = excluded.retry_at,
    dispatched_at = excluded.dispatched_at,
    response_hash = excluded.response_hash,
    taken = excluded.taken,
    action_tries = excluded.action_tries,
    action_at = excluded.action_at,
    reported = excluded.reported,
    progress_text = excluded.progress_text,
    error = excluded.error,
    ended_at = excluded.ended_at,
    response = coalesce(excluded.response, session.response),
    usage = coalesce(excluded.usage, session.usage)

-- name: session_contents
SELECT session_id, agent_id, instance, attempt, content, context, timeout_seconds, task_id, task_attempt
FROM session
WHERE session_id = ANY($1::text[])

-- name: session
SELECT * FROM session WHERE session_id = $1

-- name: list_sessions
SELECT *
FROM session
WHERE ($1::bigint IS NULL OR ordinal < $1)
  AND ($2::text[] IS NULL OR state = ANY($2))
  AND ($3::text IS NULL OR agent_id = $3)
  AND ($4::text IS NULL OR external_ref = $4)
  AND ($5::text IS NULL OR batch_id = $5)
ORDER BY ordinal DESC
LIMIT $6

-- name: expired_sessions
SELECT session_id
FROM session
WHERE ended_at < $1 AND (kind <> 'task' OR reported)
  -- ordinals are not used again
  AND ordinal < (SELECT max(ordinal) FROM session)
ORDER BY ended_at
LIMIT $2

-- name: delete_sessions
DELETE FROM session WHERE session_id = ANY($1::text[])

-- name: forget_foreign_events
DELETE FROM foreign_event
WHERE ctid = ANY(ARRAY(SELECT ctid FROM foreign_event WHERE recorded_at < $1 LIMIT 5000))
