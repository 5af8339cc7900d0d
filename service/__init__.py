"""The HTTP interface: takes images, answers with jobs and certificates. Never loads torch.

app          the application and its middlewares        settings     the environment, read once
routes       jobs, batches, models, health, metrics, signing, page
submission   from an upload to a queued job             watch, polling   following a job
bodies, forms, queries    what a request holds, strictly read
auth, api_keys            who calls, and how often      cross_site   what browsers are made to send
limits, headers, head_requests, prefix, request_id, http_protocol    other middlewares and HTTP details
errors, openapi, examples, links    answers and their schema        job_metrics   metrics of jobs and workers
"""
