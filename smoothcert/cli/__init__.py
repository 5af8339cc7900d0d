"""The command line: one file a command, and what they share.

main           registers the commands, turns errors into exit codes
options        option types that several commands have
settings       environment variables
inputs         the image files that a command names
checkpoints    a model name or folder to a checkpoint and its engine
output         results on stdout, progress and notes on stderr
formatting     certificates as text, table, TSV, JSON
client         the service over HTTP
fanout         an evaluation by the workers of a broker
local_broker   a Redis or Valkey server for `up` and the tests
processes      the supervised processes of `up`

Commands import heavy packages (torch, training) inside their functions, so that --help and errors are fast.
"""
