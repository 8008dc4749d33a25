"""What nats-server trusts: the operator of its accounts.

Whoever holds it signs accounts, and with them what their credentials may do and which of them are revoked. The server
takes a new version of an account at any time, over its system account: it keeps it on its disk, tells the other servers
of its cluster, and cuts the connections whose credentials are revoked by it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats.errors
import nkeys

from hivewire.errors import BadUsage, HivewireError, NotReachable
from hivewire.ids import new_id
from hivewire.nats_tls import NatsClient, tls_trouble
from hivewire.private_file import write_private
from hivewire.tls import Tls
from hivewire_service.identity import (
    HiveKeys,
    Key,
    hive_account_token,
    new_account_key,
    new_operator_key,
    new_user_key,
    operator_token,
    system_account_token,
    user_token,
)
from hivewire_service.roles import Permissions

UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
UPDATE_S = 5.0
REVOKED_MAX = 8_000
"""An account with its revocations is one message to nats-server, of less than 1 MB."""
_LOGIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Authority:
    """The operator's key, or a signing key of his, and the key of the system account."""

    operator: Key
    system: Key

    @classmethod
    def new(cls) -> "Authority":
        """New random keys."""
        return cls(new_operator_key(), new_account_key())

    @classmethod
    def load(cls, file: Path) -> "Authority":
        """Read what `save` wrote: `{"operator": seed, "system_account": seed}`.

        Raises:
            BadUsage: the file is missing, unreadable or does not hold the two keys.
        """
        try:
            text = json.loads(file.read_text())
            return cls(Key.from_seed(text["operator"]), Key.from_seed(text["system_account"]))
        except OSError as error:
            raise BadUsage(f"cannot read the keys in {file}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, nkeys.NkeysError) as error:
            raise BadUsage(f"{file} does not hold the operator's keys: restore it from a backup") from error

    def save(self, file: Path) -> None:
        """Write the keys to `file`, mode 0600."""
        write_private(file, json.dumps({"operator": self.operator.seed, "system_account": self.system.seed}))

    def operator_token(self) -> str:
        """What nats-server is configured to trust."""
        return operator_token(self.operator, self.system.public)

    def system_token(self) -> str:
        """The system account."""
        return system_account_token(self.operator, self.system.public)

    def account_token(self, keys: HiveKeys, revoked: Iterable[str] = ()) -> str:
        """The account of a hive, in which the users with these public keys are no longer let in."""
        return hive_account_token(self.operator, keys, revoked)

    async def publish(self, nats_url: str, token: str, tls: Tls | None = None) -> None:
        """Give nats-server a new version of an account. It holds when this returns.

        Raises:
            NotReachable: the server did not answer.
            HivewireError: it does not take the account from us.
        """
        inbox = f"_INBOX.{new_id()}"
        user = new_user_key()
        allowed = Permissions(publish=(UPDATE,), subscribe=(f"{inbox}.>",))
        login_until = datetime.now(UTC) + timedelta(seconds=_LOGIN_S)
        login = user_token(self.system, None, "accounts", user.public, login_until, allowed)
        client = NatsClient(tls or Tls())
        try:
            await client.connect(
                nats_url.split(","),
                user_jwt_cb=lambda: bytearray(login.encode()),
                signature_cb=user.signature,
                inbox_prefix=inbox.encode(),
                allow_reconnect=False,
                connect_timeout=UPDATE_S,  # type: ignore[arg-type]  # it is waited for: a fraction is fine
            )
            answer = json.loads((await client.request(UPDATE, token.encode(), timeout=UPDATE_S)).data)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            reason = tls_trouble(error) or str(error) or type(error).__name__
            raise NotReachable(f"nats-server did not take the account: {reason}") from error
        finally:
            await client.close()
        if "error" in answer:
            raise HivewireError(f"nats-server refuses the account: {answer['error'].get('description', answer)}")
