"""The record of jobs, in Redis, that service and worker share (docs/decisions/0004-job-record.md).

keys        every key and field, and the states of a job     scripts     the Lua scripts as callables
store       what the service does: submit, job, cancel       votes       what a worker does with a job
batches     names for several jobs                           publisher   messages to workers, by Celery
tasks       what a task gets, brings and learns              sweep       signs of life; jobs nobody works on
broker      its address, and a client of the store there     workers     what workers say of themselves
rate_limit  a caller's submissions                           metrics     what was counted
"""
