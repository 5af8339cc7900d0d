"""The job records in Redis that service and worker share (docs/decisions/0004-job-record.md).

keys     every key and field, the states of a job     scripts  the Lua scripts as callables
store    for the service: submit, read, cancel        votes    for a task: begin, deliver, finish
batches  several jobs under one id                    tasks    messages, what a task receives and delivers
broker   its URL and its Redis client                 workers  heartbeats, the sweep for lost jobs
metrics  counters, histograms and queues
"""
