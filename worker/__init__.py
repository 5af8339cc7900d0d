"""The Celery application that certifies, on a GPU or a CPU: `celery -A worker.app worker`.

app         the application, its one task, its signals     certifier   one task from begin to end
drawing     the votes of one task                          models      which models this child can run
heartbeat   the parent: signs of life, queues, the sweep   cache       engines already built
engines     the engines of the library                     voting      what an engine must offer
settings    the environment, read once
"""
