"""The command line: one file a command, and what they share.

main           registers the commands, turns errors into exit codes
options        option types that several commands have; the image files that a command names
settings       environment variables
checkpoints    a model name or folder to a checkpoint, its engine, and images that fit it
checks         of certificates and statements: model, image, log, redrawn votes, keys
output         results on stdout, certificates as text, table, TSV, JSON; progress and notes on stderr
denoising      the classifier that `train denoiser` puts a denoiser before
fanout         an evaluation by the workers of a broker
processes      the child processes of `up`: a Redis or Valkey server (for the tests too), supervision

Commands import heavy packages (torch, training) inside their functions, so that --help and errors are fast.
"""
