"""The agent gateway: who is in the fleet, and whether it is alive."""
