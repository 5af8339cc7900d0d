#!/bin/sh
# ResNet-110 with Consistency on CIFAR-10 at three noise levels on one GPU, in commands of ten minutes at most.
# Each command goes on where the last one ended; repeat `train` and `certify` until they say that all is done.
#
#   benchmarks/gpu_cifar10.sh pack ROOT     at home: ROOT/cifar-10-batches-py -> two files under 64 MB below build/cifar10/packed
#   (copy the repository and build/cifar10 to the machine with the GPU; build/cifar10 comes back after each command)
#   benchmarks/gpu_cifar10.sh unpack        there, after each piece that is copied by itself; else `train` does it
#   benchmarks/gpu_cifar10.sh train         150 epochs of the three runs, together on the GPU
#   benchmarks/gpu_cifar10.sh certify       every 20th test image of each finished run: 500 images
#   benchmarks/gpu_cifar10.sh status        what is finished
#   benchmarks/gpu_cifar10.sh bring         at home: finished checkpoints, with their figures, into models/; logs into docs/results/
#
# In the environment: WORK (build/cifar10), SECONDS_EACH (of a command's training or certifying: 510), PLAN, DEVICE,
# SETUP, N, EVERY, EPOCHS, PYTHON, MODELS, RESULTS. A dry run at tiny scale on a CPU: see tests/training/test_gpu_scripts.py.
set -eu
cd "$(dirname "$0")/.."
WORK=${WORK:-build/cifar10}
PLAN=${PLAN:-benchmarks/gpu/cifar10.json}
DEVICE=${DEVICE:-cuda}
SETUP=${SETUP:-cuda:compile-cuda-graph/channels-last/folded:bfloat16:2048}
[ -n "${PYTHON:-}" ] || { [ -x .venv/bin/python ] && PYTHON=.venv/bin/python; } || PYTHON=python
SECONDS_EACH=${SECONDS_EACH:-510}
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PWD"

unpack() { # one batch of each piece stands for all of it
    [ -e "$WORK/data/data_batch_1.npz" ] && [ -e "$WORK/data/test_batch.npz" ] ||
        "$PYTHON" benchmarks/gpu/pieces.py unpack "$WORK/packed" "$WORK/data"
}

case "${1:-}" in
pack)
    "$PYTHON" benchmarks/gpu/pieces.py pack "${2:?pack needs the folder that holds cifar-10-batches-py}" "$WORK/packed"
    ;;
unpack)
    unpack
    ;;
train)
    unpack
    "$PYTHON" benchmarks/gpu/train.py "$PLAN" --data "$WORK/data" --state "$WORK/state" --out "$WORK/checkpoints" \
        --seconds "$SECONDS_EACH" --device "$DEVICE" ${EPOCHS:+--epochs "$EPOCHS"}
    ;;
certify)
    unpack
    "$PYTHON" benchmarks/gpu/certify.py "$WORK/checkpoints" --data "$WORK/data" --logs "$WORK/logs" \
        --seconds "$SECONDS_EACH" --setup "$SETUP" --n "${N:-100000}" --every "${EVERY:-20}"
    ;;
status)
    for folder in "$WORK"/checkpoints/*/; do
        [ -e "$folder/card.json" ] || continue
        log="$WORK/logs/$(basename "$folder")-n${N:-100000}.tsv"
        echo "$(basename "$folder"): trained, $([ -e "$log" ] && tail -n +2 "$log" | wc -l || echo 0) images certified"
    done
    ;;
bring)
    MODELS=${MODELS:-models} RESULTS=${RESULTS:-docs/results}
    mkdir -p "$MODELS" "$RESULTS"
    for folder in "$WORK"/checkpoints/*/; do
        [ -e "$folder/card.json" ] || continue
        name=$(basename "$folder")
        mkdir -p "$MODELS/$name"
        cp "$folder/model.safetensors" "$folder/card.json" "$MODELS/$name/"
        for end in tsv tsv.run.json; do
            [ ! -e "$WORK/logs/$name-n${N:-100000}.$end" ] || cp "$WORK/logs/$name-n${N:-100000}.$end" "$RESULTS/$name.$end"
        done
    done
    ;;
*)
    sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
