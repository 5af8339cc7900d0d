"""The Celery application that certifies, on a GPU or a CPU: `celery -A worker.app worker`.

app        the application, its only task, its signals   certifier  one task from start to end
drawing    the votes of one task                         models     the models that this child has loaded
heartbeat  the parent: heartbeat, queues, the sweep      engines    adapter to smoothcert.engines
settings   environment variables, read once
"""
