"""The documents: certificates, jobs, model cards, parameters, problems. No torch, no Redis, no SciPy."""
