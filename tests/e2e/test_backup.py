"""A hive is backed up while it works, and goes on elsewhere."""

from e2e.up import Up, eventually


def test_a_backup_is_a_hive_somewhere_else(up: Up, own_up: Up, exec_agent, skill, tmp_path):
    file = str(tmp_path / "hive.zip")
    exec_agent(up, f"{skill}-1", skill, "echo ok")
    done = up.submit("done", "--needs", skill, "--wait")
    pending = up.submit("pending", "--needs", f"{skill}-later")
    assert "tasks" in up.run("backup", file).stdout
    assert "name a data directory" in own_up.error("restore", file, exits=2)
    own_up.run("restore", file, "--data", str(own_up.data))
    own_up.start()
    assert own_up.task(done)["result"] == "ok\n"
    assert own_up.history(done) == up.history(done)
    exec_agent(own_up, f"{skill}-2", f"{skill}-later", "echo there")
    eventually(lambda: own_up.task(pending)["status"] == "completed")
    assert up.task(pending)["status"] == "pending"
