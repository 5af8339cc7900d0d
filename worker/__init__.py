"""The Celery application that certifies, on a GPU or a CPU: `celery -A worker.app worker`.

settings    the environment, read once          app        the application, its one task, its signals
certifier   one job from claim to end           drive      the procedure, the votes and the reports of one job
keeper      keeps a lease while its holder works    pace   how many votes fill a chunk
voting      the seam to what casts votes        engines    the engines of certification
upkeep      signs of life, and the janitor      drain      the parent's word to the child to stop
cache       engines already built            transport  Celery's, for a broker that is full
readiness   the child's word that it takes jobs now
hand        portions of a shared job    company     the holder's side of sharing
"""
