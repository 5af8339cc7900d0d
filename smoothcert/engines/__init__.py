"""Back ends that classify noisy copies, and the choice of the fastest one on this machine.

config       everything besides weights and noise that decides an answer
engine       one network under one config; makes samplers for images
candidates   the configs worth trying; autotune measures them and remembers the fastest
agreement    an engine must answer like the plain network before its first vote
pytorch, openvino_cpu, cuda, int8    the back ends
hardware     describes this machine; matmul_rate measures what it could reach at best
"""
