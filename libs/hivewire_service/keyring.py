"""The keys of a hive whose servers are not started by `hivewire up`: what nats-server trusts, and who may speak.

A folder with two parts. `signing` holds the keys that sign, for the agent gateway alone. `access` holds what nats-server
reads, which is no secret, and the credentials of the services and of the operator.
"""

import json
from pathlib import Path

from hivewire.errors import BadUsage
from hivewire.private_file import write_private
from hivewire_service.authority import Authority
from hivewire_service.identity import HiveKeys, Issuer
from hivewire_service.roles import RESERVED_NAMES

_TRUST = """\
# Made by `hivewire keys`. No secret: it says whom nats-server believes, not how to be believed.
operator: "{operator}"
system_account: "{system}"
resolver_preload: {accounts}
"""


def make_keys(folder: Path, hive: str) -> None:
    """Make the keys of `hive` in `folder`, as far as they are not there yet, and write everything that follows from them.

    Raises:
        BadUsage: the folder cannot be written, a file in it holds no keys, or `hive` is no valid name.
    """
    signing, access = folder / "signing", folder / "access"
    try:
        for part in (signing, access):
            part.mkdir(parents=True, exist_ok=True)
        authority_file, hive_file = signing / "authority.json", signing / f"hive-{hive}.json"
        if not authority_file.exists():
            Authority.new().save(authority_file)
        if not hive_file.exists():
            HiveKeys.new(hive).save(hive_file)
        authority, keys = Authority.load(authority_file), HiveKeys.load(hive_file)
        accounts = {keys.account: authority.account_token(keys), authority.system.public: authority.system_token()}
        trust = access / "trust.conf"
        trust.write_text(
            _TRUST.format(
                operator=authority.operator_token(), system=authority.system.public, accounts=json.dumps(accounts)
            )
        )
        trust.chmod(0o644)
        for role, name in RESERVED_NAMES.items():
            write_private(access / f"{role}.creds", Issuer(keys).issue(role, name))
    except OSError as error:
        raise BadUsage(f"cannot write keys to {folder}: {error.strerror}") from error
