"""The HTTP API: accepts images, returns jobs and certificates. Never imports torch.

app          the application and its middlewares        settings     the environment, read once
state        what lives as long as the application
routes       jobs, batches, models, verify, health, metrics, signing; app has the page
submission   from an upload to a queued job             watch        following a job
bodies, forms    strict parsing of requests
auth         API keys and rate limits                   cross_site   CSRF and DNS rebinding checks
prefix       below a path of a proxy                    middleware   the other middlewares
errors, openapi    problem documents, the schema and its examples
"""
