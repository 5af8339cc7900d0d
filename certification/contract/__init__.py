"""What service, worker, command line and outside programs agree on. Imports neither torch nor scipy."""
