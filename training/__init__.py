"""Training and evaluation of base classifiers for randomized smoothing.

One training step, in order: trainer.py (the loop) calls step.py (select images, augment, loss, update), which
calls methods/<name>.py (noise, forward passes, loss). datasets/ loads images; recipe.py holds everything that
decides the weights; autotune.py measures the fastest way to compute; run.py keeps a run on disk and exports
its checkpoint; distributed.py splits a step over processes. pretrained.py has weights to start from,
teacher.py the vote shares that CAT-RS trains with.

evaluation.py certifies a data set into a log; summary.py, log_checks.py and report.py turn logs into figures.
reproduce/ has the published experiments.
"""
