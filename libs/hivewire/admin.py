"""The requests that services answer over `<hive>.admin.<service>.<action>.<sender>`, which only operators may publish."""

from typing import Annotated, Literal

import msgspec

from hivewire import fields

Role = Literal["agent", "publisher", "operator"]
CREDENTIALS_AGE_S_MAX = 10 * 365 * 24 * 3600.0


class IssueCredentials(msgspec.Struct, omit_defaults=True):
    """Make NATS credentials for `name`. Without `expires_in_s` they hold until the signing key is changed."""

    name: fields.Token
    role: Role = "agent"
    expires_in_s: Annotated[float, msgspec.Meta(gt=0.0, le=CREDENTIALS_AGE_S_MAX)] | None = None


AGENT_GATEWAY: dict[str, type[msgspec.Struct]] = {
    "credentials": IssueCredentials,  # -> Credentials
}
