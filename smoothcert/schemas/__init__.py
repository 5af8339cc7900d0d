"""The documents, as pydantic models. No torch, no Redis, no SciPy.

certificate  the answer with its evidence         job         jobs, batches, problems over HTTP
parameters   what is asked, and whether it can be answered       card        a checkpoint without its weights
signature    signatures and public keys           api_keys    keys of the service
reading      untrusted bytes to a certificate, strictly
"""
