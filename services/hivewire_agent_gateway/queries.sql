-- name: load_agents
SELECT agent_id, name, agent_type, endpoint_url, state, drained, capabilities, slots, owner, policy, labels, metadata,
       instance, replaced_instances, registered_at, changed_at, answers_while_busy
FROM agent

-- name: write_agents
INSERT INTO agent (
    agent_id, name, agent_type, endpoint_url, state, drained, capabilities, slots, owner, policy, labels, metadata,
    instance, replaced_instances, registered_at, changed_at, answers_while_busy
)
SELECT agent_id, name, agent_type, endpoint_url, state, drained,
       ARRAY(SELECT json_array_elements_text(capabilities::json)), slots, owner, policy, labels, metadata,
       instance, ARRAY(SELECT json_array_elements_text(replaced_instances::json)), registered_at, changed_at,
       answers_while_busy
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::integer[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::timestamptz[], $16::timestamptz[],
    $17::boolean[]
) AS changed (
    agent_id, name, agent_type, endpoint_url, state, drained, capabilities, slots, owner, policy, labels, metadata,
    instance, replaced_instances, registered_at, changed_at, answers_while_busy
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
    answers_while_busy = excluded.answers_while_busy

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

-- name: find_foreign_events
SELECT publisher, event_id
FROM unnest($1::text[], $2::text[]) AS asked (publisher, event_id)
JOIN foreign_event USING (publisher, event_id)

-- name: insert_foreign_events
INSERT INTO foreign_event (publisher, event_id, recorded_at)
SELECT publisher, event_id, $1 FROM unnest($2::text[], $3::text[]) AS new (publisher, event_id)

-- name: history
SELECT seq, type, data FROM event WHERE writer = $1 AND type = ANY($2::text[]) ORDER BY seq
