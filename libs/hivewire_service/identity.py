"""Keys and credentials: who may speak in a hive.

nats-server trusts one operator key. Each hive is an account of its own, signed by that operator, and each role of the
hive is a scoped signing key of the account: whoever holds a role's key can issue credentials of that role, and the
permissions come from the account, not from the credential.

The tokens are JWTs with algorithm `ed25519-nkey`, version 2 of the claims. Specifications: ADR-14 (user JWTs from
scoped signing keys) in github.com/nats-io/nats-architecture-and-design, and github.com/nats-io/jwt for the claims of
operators and accounts.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nkeys

from hivewire.errors import BadUsage
from hivewire.private_file import write_private
from hivewire.subjects import hive_name, token
from hivewire_service.roles import RESERVED_NAMES, Permissions, Role, permissions

_UNLIMITED = -1
_CONNECTION_LIMITS = ("subs", "conn", "leaf", "imports", "exports", "data", "payload")
_FOR_EVER = 2**32
"""A revocation names the time up to which tokens are refused. Keys of users are not used again after theirs."""
_JETSTREAM_LIMITS = ("mem_storage", "disk_storage", "streams", "consumer")


@dataclass(frozen=True, slots=True)
class Key:
    """An ed25519 key pair in the NATS encoding. Its `repr` shows the public half alone."""

    public: str
    seed: str

    @classmethod
    def new(cls, kind: int) -> "Key":
        """A new random key; `kind` is one of nkeys' prefix bytes."""
        return cls.from_seed(nkeys.encode_seed(os.urandom(32), kind).decode())

    @classmethod
    def from_seed(cls, seed: str) -> "Key":
        return cls(nkeys.from_seed(bytearray(seed.encode())).public_key.decode(), seed)

    def sign(self, data: bytes) -> bytes:
        signature: bytes = nkeys.from_seed(bytearray(self.seed.encode())).sign(data)
        return signature

    def signature(self, nonce: str) -> bytes:
        """What a NATS client answers to the server's nonce."""
        return base64.b64encode(self.sign(nonce.encode()))

    def __repr__(self) -> str:
        return f"Key({self.public})"


def new_operator_key() -> Key:
    return Key.new(nkeys.PREFIX_BYTE_OPERATOR)


def new_account_key() -> Key:
    return Key.new(nkeys.PREFIX_BYTE_ACCOUNT)


def new_user_key() -> Key:
    return Key.new(nkeys.PREFIX_BYTE_USER)


# --- tokens -----------------------------------------------------------------------------------------
def operator_token(operator: Key, system_account: str) -> str:
    """The self-signed token that nats-server is configured to trust."""
    claims = {"type": "operator", "version": 2, "system_account": system_account}
    return _encode(operator, "hivewire", operator.public, claims)


def system_account_token(operator: Key, account: str) -> str:
    """The account in which nats-server speaks about itself. It has no JetStream and no users by default."""
    limits = dict.fromkeys(_CONNECTION_LIMITS, _UNLIMITED)
    return _encode(operator, "system", account, {"type": "account", "version": 2, "limits": limits})


def hive_account_token(operator: Key, keys: "HiveKeys", revoked: Iterable[str] = ()) -> str:
    """The account of a hive: JetStream without limits, and one scoped signing key a role.

    Args:
        operator: signs the token.
        keys: the hive's.
        revoked: public keys of users that are not let in, whenever their tokens were issued.
    """
    limits = dict.fromkeys((*_CONNECTION_LIMITS, *_JETSTREAM_LIMITS), _UNLIMITED)
    claims = {
        "type": "account",
        "version": 2,
        "limits": limits | {"wildcards": True},
        "signing_keys": [_scope(role, key.public, keys.hive) for role, key in keys.roles.items()],
        "revocations": dict.fromkeys(revoked, _FOR_EVER),
    }
    return _encode(operator, keys.hive, keys.account, claims)


def revoked_users(account_token: str) -> list[str]:
    """The public keys of the users that an account does not let in."""
    body = account_token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return list(claims["nats"].get("revocations", ()))


def _scope(role: Role, public: str, hive: str) -> dict[str, Any]:
    allowed = permissions(role, hive)
    return {"kind": "user_scope", "key": public, "role": role.value, "template": permitted(allowed)}


def permitted(allowed: Permissions) -> dict[str, Any]:
    """What a user, or a scope of users, may do."""
    return {
        "pub": {"allow": list(allowed.publish)},
        "sub": {"allow": list(allowed.subscribe)},
        "subs": _UNLIMITED,
        "data": _UNLIMITED,
        "payload": _UNLIMITED,
    }


def user_token(
    signing: Key,
    account: str | None,
    name: str,
    user: str,
    expires: datetime | None = None,
    allowed: Permissions | None = None,
) -> str:
    """A user's token.

    Args:
        signing: the account's own key, or one of its signing keys.
        account: the account's public key, where another key signs.
        name: the user's name.
        user: the user's public key.
        expires: when the server stops taking it; None is never.
        allowed: its permissions. One that a scoped key signs has those of the scope, and carries none itself.
    """
    claims = {"type": "user", "version": 2, **(permitted(allowed) if allowed else {})}
    return _encode(signing, name, user, claims | ({"issuer_account": account} if account else {}), expires)


def _encode(signer: Key, name: str, subject: str, nats: dict[str, Any], expires: datetime | None = None) -> str:
    claims: dict[str, Any] = {"iat": int(time.time()), "iss": signer.public, "name": name, "sub": subject, "nats": nats}
    if expires is not None:
        claims["exp"] = int(expires.timestamp())
    claims["jti"] = base64.b32encode(hashlib.sha256(_json(claims)).digest()).decode().rstrip("=")
    body = f"{_base64(_json({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_base64(_json(claims))}"
    return f"{body}.{_base64(signer.sign(body.encode()))}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def credentials(jwt: str, seed: str) -> str:
    """A credentials file as every NATS client reads it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "The seed below is a secret: whoever has it speaks under this name.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n"
        "*************************************************************\n"
    )


# --- keys on disk -----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class HiveKeys:
    """A hive's account and the signing keys of its roles: enough to issue credentials, not to change permissions."""

    hive: str
    account: str
    roles: Mapping[Role, Key]

    @classmethod
    def new(cls, hive: str) -> "HiveKeys":
        """New keys for `hive`. The account's own private key is not kept: the roles' keys sign everything.

        Raises:
            BadUsage: `hive` is no valid name of a hive.
        """
        return cls(hive_name(hive), new_account_key().public, {role: new_account_key() for role in Role})

    @classmethod
    def load(cls, file: Path) -> "HiveKeys":
        """Read what `save` wrote.

        Raises:
            BadUsage: the file is missing, unreadable or not a file of keys.
        """
        try:
            text = json.loads(file.read_text())
            roles = {Role(role): Key.from_seed(seed) for role, seed in text["roles"].items()}
            return cls(text["hive"], text["account"], roles)
        except OSError as error:
            raise BadUsage(f"cannot read the keys in {file}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, nkeys.NkeysError) as error:
            raise BadUsage(f"{file} is no file of signing keys: restore it from a backup") from error

    def save(self, file: Path) -> None:
        """Write the keys to `file`, mode 0600."""
        roles = {role.value: key.seed for role, key in self.roles.items()}
        write_private(file, json.dumps({"hive": self.hive, "account": self.account, "roles": roles}, indent=1))


class Issuer:
    """Issues credentials for the members of one hive."""

    def __init__(self, keys: HiveKeys) -> None:
        self._keys = keys

    @classmethod
    def from_file(cls, keys_file: Path, hive: str) -> "Issuer":
        """The issuer that holds the keys in `keys_file`.

        Raises:
            BadUsage: the file cannot be read, or holds the keys of another hive.
        """
        keys = HiveKeys.load(keys_file)
        if keys.hive != hive:
            raise BadUsage(f"{keys_file} holds the keys of hive {keys.hive!r}, not of {hive!r}")
        return cls(keys)

    @property
    def keys(self) -> HiveKeys:
        return self._keys

    def user_key(self, name: str, generation: int) -> Key:
        """The key of all credentials of a name's generation. The next generation begins when they are revoked."""
        secret = self._keys.roles[Role.AGENT].seed.encode()
        random = hmac.digest(secret, f"user/{name}/{generation}".encode(), "sha256")
        return Key.from_seed(nkeys.encode_seed(random, nkeys.PREFIX_BYTE_USER).decode())

    def issue(
        self, role: Role | str, name: str, expires: datetime | None = None, *, generation: int | None = None
    ) -> str:
        """A new credential for `name`, as the text of a credentials file.

        Args:
            role: decides what the bearer may publish and hear.
            name: the bearer's id; every command it sends carries it.
            expires: when nats-server stops taking the credential; None is never.
            generation: revoked together with the others of the name's generation; None: it has a key that nobody knows,
                and holds until the role's signing key is changed.

        Raises:
            BadUsage: the role is unknown, or the name is no token of a subject or reserved.
        """
        try:
            role = Role(role)
        except ValueError:
            raise BadUsage(f"role {role!r} is unknown: take one of {', '.join(Role)}") from None
        token(name, "name")
        if role is Role.SERVICE and name != RESERVED_NAMES[role]:
            raise BadUsage(f"a credential of role {role} is always named {RESERVED_NAMES[role]!r}")
        if name in RESERVED_NAMES.values() and name != RESERVED_NAMES.get(role):
            raise BadUsage(f"the name {name!r} is reserved: take another")
        user = new_user_key() if generation is None else self.user_key(name, generation)
        jwt = user_token(self._keys.roles[role], self._keys.account, name, user.public, expires)
        return credentials(jwt, user.seed)
