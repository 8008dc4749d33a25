-- name: signing_secret
INSERT INTO signing_secret AS kept (name, secret) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET secret = kept.secret
RETURNING secret

-- name: find_signing_secret
SELECT secret FROM signing_secret WHERE name = $1

-- name: drop_signing_secret
DELETE FROM signing_secret WHERE name = $1

-- name: add_token
INSERT INTO token (token_hash, name, role, expires_at) VALUES ($1, $2, $3, $4)

-- name: find_token
SELECT name, role FROM token
WHERE token_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: list_tokens
SELECT token_hash, name, role, created_at, expires_at, revoked_at FROM token
WHERE $1::timestamptz IS NULL OR (created_at, token_hash) > ($1, $2::text)
ORDER BY created_at, token_hash
LIMIT $3

-- name: generation
INSERT INTO credential AS kept (name, generation) VALUES ($1, 0)
ON CONFLICT (name) DO UPDATE SET generation = kept.generation
RETURNING generation

-- name: next_generation
UPDATE credential SET generation = generation + 1 WHERE name = $1 RETURNING generation

-- name: lock_credentials
LOCK TABLE credential IN SHARE ROW EXCLUSIVE MODE

-- name: revoked_credentials
SELECT name, generation FROM credential WHERE generation > 0

-- name: revoke_tokens
UPDATE token SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL
