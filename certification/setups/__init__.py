"""The ways to run a network: one file a backend. None is imported before it is used."""
