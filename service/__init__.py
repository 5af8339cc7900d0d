"""The HTTP API: accepts images, returns jobs and certificates. Never imports torch.

app          the application and its page               settings    the environment, read once
state        what lives as long as the application
routes       jobs (and following one), batches, models, verify, monitoring
bodies       strict parsing of request bodies           submission  from a form to a queued job
auth         API keys, rate limits, cross-site checks
middleware   below a path of a proxy (Prefix); request ids, headers, limits
errors, openapi    problem documents, the schema and its examples
"""
