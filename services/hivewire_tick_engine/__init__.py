"""The tick engine: fleets rehearse, tick by tick."""
