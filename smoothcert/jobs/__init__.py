"""The job records in Redis that service and worker share (docs/decisions/0004-job-record.md).

keys        every key and field, and the states of a job     scripts     the Lua scripts as callables
store       for the service: submit, read, cancel            votes       for a task: begin, deliver, finish
batches     several jobs under one id                        publisher   messages to workers, by Celery
tasks       what a task receives and delivers                workers     heartbeats, the sweep for lost jobs
broker      its URL and its Redis client
rate_limit  submissions per caller                           metrics     counters, histograms and queues
"""
