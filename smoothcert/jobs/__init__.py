"""The one record of jobs, in Redis, that service and worker share (docs/decisions/0004-job-record.md).

jobs.JobStore     what the service does: submit, job, cancel, image, page, workers, ping
leases.Leases     what a worker does: claim, pin, progress, hand_back, finish, fail, overdue
shares.Shares     what workers do who share one job: divide, join, exchange, gather
broker            its address, and a client of the store there
delivery          how a job's id travels to a worker (Celery); the record never needs it to be reliable
"""
