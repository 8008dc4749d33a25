import pytest

from hivewire.errors import BadUsage
from hivewire_service.identity import HiveKeys, Issuer
from hivewire_service.roles import NAME, Role, permissions


@pytest.mark.parametrize("role", [Role.AGENT, Role.PUBLISHER, Role.OPERATOR])
def test_only_services_speak_under_another_name(role):
    for subject in permissions(role, "hive").publish:
        assert subject.endswith(f".{NAME}") or subject.startswith("$"), subject


@pytest.mark.parametrize("role", [Role.AGENT, Role.PUBLISHER, Role.OPERATOR])
def test_replies_are_heard_under_the_own_prefix_only(role):
    heard = [subject for subject in permissions(role, "hive").subscribe if subject.startswith("_INBOX")]
    assert heard == [f"_INBOX.{NAME}.>"]


def test_services_hear_the_replies_to_those_on_whose_behalf_they_ask():
    heard = [subject for subject in permissions(Role.SERVICE, "hive").subscribe if subject.startswith("_INBOX")]
    assert heard == ["_INBOX.*.>"]


@pytest.mark.parametrize("role", list(Role))
def test_permissions_name_the_hive(role):
    allowed = permissions(role, "blue")
    assert not any(subject.startswith("hive.") for subject in (*allowed.publish, *allowed.subscribe))


def test_agents_and_publishers_do_not_reach_jetstream_or_the_services_own_protocol():
    for role in (Role.AGENT, Role.PUBLISHER):
        allowed = permissions(role, "hive")
        assert not any(subject.startswith("$") for subject in (*allowed.publish, *allowed.subscribe))


@pytest.fixture(scope="module")
def issuer():
    return Issuer(HiveKeys.new("hive"))


@pytest.mark.parametrize("name", ["", "a b", "a.b", "*", ">", "a\n", "x" * 129])
def test_a_name_must_be_a_token(issuer, name):
    with pytest.raises(BadUsage, match="name"):
        issuer.issue(Role.AGENT, name)


def test_reserved_names_belong_to_their_role(issuer):
    with pytest.raises(BadUsage, match="reserved"):
        issuer.issue(Role.AGENT, "operator")
    with pytest.raises(BadUsage, match="always named 'service'"):
        issuer.issue(Role.SERVICE, "alice")
    assert issuer.issue(Role.OPERATOR, "carol")


def test_an_unknown_role_is_refused_with_the_known_ones(issuer):
    with pytest.raises(BadUsage, match="agent, publisher, operator, service"):
        issuer.issue("king", "alice")


def test_keys_read_back_equal_and_are_private(tmp_path):
    keys = HiveKeys.new("hive")
    keys.save(tmp_path / "keys.json")
    assert HiveKeys.load(tmp_path / "keys.json") == keys
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_the_repr_of_keys_shows_no_seed():
    keys = HiveKeys.new("hive")
    assert not any(key.seed in repr(keys) for key in keys.roles.values())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hive": "h", "account": "A", "roles": {"agent": "SAnonsense"}}'])
def test_a_file_that_holds_no_keys_is_refused(tmp_path, text):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(BadUsage, match="no file of signing keys"):
        HiveKeys.load(tmp_path / "keys.json")


def test_a_missing_file_of_keys_is_named(tmp_path):
    with pytest.raises(BadUsage, match=r"keys\.json: No such file"):
        HiveKeys.load(tmp_path / "keys.json")
