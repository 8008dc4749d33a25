"""The requests that services answer over `<hive>.admin.<service>.<action>.<sender>`, which only operators may publish."""

from typing import Annotated, Literal

import msgspec

from hivewire import fields, reads

Role = Literal["agent", "publisher", "operator"]
CREDENTIALS_AGE_S_MAX = 10 * 365 * 24 * 3600.0


class IssueCredentials(msgspec.Struct, omit_defaults=True):
    """Make NATS credentials for `name`. Without `expires_in_s` they hold until they are revoked."""

    name: fields.Token
    role: Role = "agent"
    expires_in_s: Annotated[float, msgspec.Meta(gt=0.0, le=CREDENTIALS_AGE_S_MAX)] | None = None


class CreateToken(msgspec.Struct, omit_defaults=True):
    """Make a token for the HTTP door, bound to `name` and `role`, and NATS credentials with it."""

    name: fields.Token
    role: Role = "agent"
    expires_in_s: Annotated[float, msgspec.Meta(gt=0.0, le=CREDENTIALS_AGE_S_MAX)] | None = None


class ListTokens(reads.Listing, omit_defaults=True):
    """A page of all tokens, oldest first, without the tokens themselves."""


class RevokeTokens(msgspec.Struct):
    """Let no token and no NATS credentials of `name` be good any more; who is connected by them is cut."""

    name: fields.Token


AGENT_GATEWAY: dict[str, type[msgspec.Struct]] = {
    "credentials": IssueCredentials,  # -> Credentials
    "create_token": CreateToken,  # -> NewToken
    "tokens": ListTokens,  # -> Page of TokenView
    "revoke_token": RevokeTokens,  # -> RevokedTokens
}
