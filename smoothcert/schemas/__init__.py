"""The documents, as pydantic models. No torch, no Redis, no SciPy.

certificate  the answer with its evidence, its signature and the public keys
parameters   sigma, votes, alpha and procedure of a request, and whether they can certify at all
job          jobs, batches, problems over HTTP
card         a checkpoint without its weights
statement    what an evaluation log proves about a distribution of images
evaluation_log, evaluation_run    one image a line with its evidence, and what was asked
api_keys     keys of the service
"""
