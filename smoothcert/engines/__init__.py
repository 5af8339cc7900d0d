"""Back ends that classify noisy copies, and the choice of the fastest one on this machine.

config       everything besides weights and noise that decides an answer
engine       one network under one config, checked against the plain network; makes samplers for images
autotune     the configs worth trying; measures them and remembers the fastest
pytorch, openvino_cpu, cuda, int8    the back ends
capture      modules given in Python: checked by function_check, captured as a graph, or run by as_given
hardware     describes this machine, and measures what it could reach at best
"""
