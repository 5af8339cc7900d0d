"""The HTTP API: accepts images, returns jobs and certificates. Never imports torch.

app          the application and its middlewares        settings     the environment, read once
routes       jobs, batches, models, health, metrics, signing, page
submission   from an upload to a queued job             watch, polling   following a job
bodies, forms, queries    strict parsing of requests
auth, api_keys            API keys and rate limits      cross_site   CSRF and DNS rebinding checks
limits, headers, head_requests, prefix, request_id, http_protocol    other middlewares and HTTP details
errors, openapi, examples, links    responses and their schema      job_metrics   metrics of jobs and workers
"""
