#!/usr/bin/env bash
# Brings the compose files up on this machine's Docker engine, without a GPU, and breaks them: what docs/deploy.md promises,
# shown. Some minutes; needs Compose 2.24.4 or newer and curl.
#   docker/try.sh               builds both images first (PyTorch is large)
#   docker/try.sh --no-build    takes the images that are there
# Nothing of a running SmoothCert is touched: project and port are its own (TRY_PORT, 18000), its volumes go at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PROJECT=smoothcert-try
export SMOOTHCERT_PORT=${TRY_PORT:-18000}
URL=http://127.0.0.1:$SMOOTHCERT_PORT
IMAGE=tests/data/digit-7.png
LONG=${TRY_VOTES:-1000000} # votes of a job that is to be disturbed: some 20 s on two cores
TIMEOUT=${TRY_TIMEOUT:-600}    # seconds any one job may take

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
fail() {
  say "FAILED: $*"
  exit 1
}

compose() {
  docker compose --project-name "$PROJECT" --progress quiet --file docker-compose.yml --file docker-compose.cpu.yml \
    --file docker-compose.keys.yml "$@"
}

# --- HTTP, through the published port ---

api() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $KEY" "$@"; }

# field a.b.c: one value of the JSON document on stdin. In the service's container: the host needs no Python, no jq.
field() {
  compose exec -T service python -c '
import functools, json, sys
found = functools.reduce(lambda value, name: (value or {}).get(name), sys.argv[1].split("."), json.load(sys.stdin))
print(json.dumps(found) if isinstance(found, (dict, list)) else found)' "$1"
}

# submit VOTES: the id of a new job.
submit() { api --form image=@"$IMAGE" --form n="$1" "$URL/certify" | field id; }

# running ID: waits until the job has votes, so that what comes now comes in its midst.
running() {
  local job samples
  for _ in $(seq "$TIMEOUT"); do
    job=$(api "$URL/jobs/$1")
    samples=$(field progress.samples <<<"$job")
    if [ "$samples" -gt 0 ]; then
      say "job ${1:0:6}…: $(field status <<<"$job") with $samples of $(field progress.of <<<"$job") votes"
      return
    fi
    sleep 0.3
  done
  fail "job $1 never began"
}

# ended ID MOST: waits for a job, which must succeed with every vote it asked for counted once, after at most MOST lost tasks.
ended() {
  local job status=queued deadline=$((SECONDS + TIMEOUT))
  while [[ $status == queued || $status == running ]] && [ $SECONDS -lt $deadline ]; do
    job=$(curl --silent --fail --header "Authorization: Bearer $KEY" "$URL/jobs/$1?wait=20") && status=$(field status <<<"$job") || sleep 1
  done
  local n counts attempts
  n=$(field parameters.n <<<"$job") counts=$(field certificate.counts <<<"$job") attempts=$(field attempts <<<"$job")
  say "job ${1:0:6}…: $status, lost tasks $attempts, class $(field certificate.label <<<"$job")," \
    "radius $(field certificate.radius <<<"$job"), counts $counts"
  [ "$status" = succeeded ] || fail "job $1 ended as $status"
  [ "$attempts" -le "$2" ] || fail "job $1 lost $attempts tasks, more than $2"
  [ "$(($(tr -d '[] ' <<<"$counts" | tr , +)))" = "$n" ] || fail "job $1 didn't count $n votes"
}

# --- what is shown ---

images() {
  step "images"
  [ "${1:-}" = --no-build ] || compose build
  docker image ls --format '{{.Repository}}: {{.Size}}' | grep -E '^smoothcert-(service|worker):'
}

gpu_reservation() {
  step "the main file alone reserves a GPU (docker compose config)"
  docker compose --file docker-compose.yml config | grep -A 4 'devices:' || fail "no device is reserved"
  compose config | grep 'devices:' && fail "the override reserves a device" || say "with docker-compose.cpu.yml: none"
}

up() {
  local began=$SECONDS
  compose up --detach --wait
  say "healthy after $((SECONDS - began)) s"
}

first_start() {
  step "up --wait, a key, a certificate through the published port"
  up
  compose ps --format '{{.Service}}: {{.Status}} {{.Ports}}'
  say "without a key: $(curl --silent --output /dev/null --write-out '%{http_code}' "$URL/jobs")"
  KEY=$(compose run --rm --no-TTY keys create try)
  say "with the key that \`docker compose run --rm keys create try\` printed: $(api --output /dev/null --write-out '%{http_code}' "$URL/jobs")"
  ready
  ended "$(submit 100000)" 0
}

# A worker is healthy once its model is loaded, so this holds as soon as `up --wait` has ended.
ready() { say "/health/ready: $(curl --silent --show-error --fail-with-body "$URL/health/ready")"; }

hardening() {
  step "user, capabilities, root file system of each container, asked inside it"
  local name
  for name in redis service worker; do
    compose exec -T "$name" sh -c '
      printf "%s: uid %s, " "$0" "$(id -u)"
      awk "/^CapEff|^CapBnd|^NoNewPrivs/ {printf \"%s %s, \", \$1, \$2}" /proc/1/status
      touch /usr/tried 2>/dev/null && { echo "the root can be written"; exit 1; } || echo "the root is read-only"
      [ "$(id -u)" != 0 ]' "$name" || fail "$name is not confined"
  done
}

# An address that is nobody's (RFC 5737): the answer is the container's own network's.
WAY_OUT='
import socket
routes = [line.split() for line in open("/proc/net/route")][1:]
print("default route:", "yes" if any(route[1] == "00000000" for route in routes) else "none", end=", ")
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error:
    print("192.0.2.1:", error)'

network() {
  step "the worker has no way out; the service alone is published, on loopback"
  say "worker:  $(compose exec -T worker python -c "$WAY_OUT")"
  say "service: $(compose exec -T service python -c "$WAY_OUT")"
  compose exec -T worker python -c "$WAY_OUT" | grep -q 'default route: none' || fail "the worker has a way out"
  say "published: $(docker ps --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Ports}}' | grep -- '->')"
}

# Kills as the kernel would for lack of memory: `docker kill` would count as a stop by hand, after which nothing restarts.
kill_worker() {
  local pid
  pid=$(docker inspect --format '{{.State.Pid}}' "$(compose ps --quiet worker)")
  docker run --rm --pid host --user 0 --network none "$(compose config --images service | grep smoothcert-service)" python -c "import os; os.kill($pid, 9)"
  say "killed process $pid of the host, the worker"
}

worker_killed() {
  step "SIGKILL of the worker in the midst of a job"
  local id began
  id=$(submit "$LONG")
  running "$id"
  kill_worker
  began=$SECONDS
  ended "$id" 1
  say "from the kill to the certificate: $((SECONDS - began)) s; restarts of the container:" \
    "$(docker inspect --format '{{.RestartCount}}' "$(compose ps --quiet worker)")"
}

broker_restarted() {
  step "redis restarted in the midst of a job"
  local id
  id=$(submit "$LONG")
  running "$id"
  compose restart redis
  say "redis is back"
  ended "$id" 0
}

down_and_up() {
  step "down and up again, with one job running and two waiting"
  local ids=() id
  for _ in 1 2 3; do ids+=("$(submit "$LONG")"); done
  running "${ids[0]}"
  compose down
  say "down: $(docker ps --quiet --filter "label=com.docker.compose.project=$PROJECT" | wc -l) containers are left, the volume stays"
  up
  for id in "${ids[@]}"; do ended "$id" 0; done
  continued
}

# Any worker here can continue any job, so none may start again from its first vote.
continued() {
  local again
  again=$(api "$URL/metrics" | awk '/^smoothcert_restarts_total/ { jobs += $2 } END { print jobs + 0 }')
  say "jobs that started again from their first vote: $again"
  [ "$again" = 0 ] || fail "a job lost its votes"
}

# in_volume VOLUME FOLDER OPTION... WORD...: a command of docs/deploy.md's backup, in a container that sees both.
in_volume() {
  local volume=$1 folder=$2
  shift 2
  docker run --rm --user 0 --network none --volume "${PROJECT}_$volume:/volume" --volume "$folder:/backup" redis:7-bookworm "$@"
}

backed_up() {
  step "backup, everything lost, restored"
  local id folder volume
  id=$(submit 100000)
  ended "$id" 0
  folder=$(mktemp -d)
  compose stop
  for volume in redis-data api-keys; do in_volume $volume "$folder" tar -C /volume -cf "/backup/$volume.tar" .; done
  say "$(cd "$folder" && wc --bytes -- *.tar | head -2 | awk '{print $2 ": " $1 " bytes"}')"
  compose down --volumes
  compose create
  for volume in redis-data api-keys; do in_volume $volume "$folder" tar -C /volume -xpf "/backup/$volume.tar"; done
  up
  say "of before, with the key of before:"
  ended "$id" 0
  rm -r "$folder"
}

# At the end, whatever it is: what went wrong, and nothing left behind.
clean() {
  [ "$1" = 0 ] || compose logs --tail 20 || true
  compose down --volumes --remove-orphans >/dev/null 2>&1 || true
}

main() {
  if ! docker info >/dev/null 2>&1; then
    say "docker/try.sh: skipped, there is no Docker engine here (\`docker info\` fails)"
    exit 0
  fi
  clean 0
  trap 'clean $?' EXIT
  images "${1:-}"
  gpu_reservation
  first_start
  hardening
  network
  worker_killed
  broker_restarted
  down_and_up
  backed_up
  step "all of it held"
}

main "$@"
