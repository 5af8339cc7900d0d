# The worker, and the command line for its operator (`smoothcert bench`). PyTorch's Linux wheels contain CUDA: the host needs
# only the driver and its container toolkit. Without a GPU the same image works on the CPU. The root file system may be
# mounted read-only.
#   docker build -f docker/worker.Dockerfile -t smoothcert-worker .
FROM python:3.11-slim-bookworm AS build
# An additional index, for example a mirror.
ARG PIP_EXTRA_INDEX_URL
# For hosts without a GPU: PyTorch's index of CPU wheels (a tenth of the size).
ARG TORCH_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY pyproject.toml requirements.lock ./
# Without the packages this installs the dependencies alone, in a layer of several GB that edits of the code do not
# invalidate. The metadata names two files whose content does not matter here.
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip --python /venv/bin/python install --constraint requirements.lock --index-url "$TORCH_INDEX" torch torchvision; \
    fi
RUN touch README.md LICENSE \
 && pip --python /venv/bin/python install --constraint requirements.lock '.[worker,cpu,onnx]'
COPY worker /app/worker
COPY smoothcert /app/smoothcert
COPY models /app/models
RUN /venv/bin/python -m compileall -q /app

FROM python:3.11-slim-bookworm
# The parts of the driver that the container toolkit mounts. The image asks for no GPU: whoever starts the container does
# (`--gpus`, a reservation, `nvidia.com/gpu`).
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SMOOTHCERT_CACHE=/tmp/smoothcert \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# torch.compile needs it, where a compiled engine is pinned (docs/deploy.md).
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin smoothcert
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
USER 10001
# The parent process writes this file with each heartbeat, `ready` once its child has loaded its models. `celery inspect` gets no
# answer: remote control is off (worker/app.py), because it costs seconds of a core and fails when the host is busy.
ENV SMOOTHCERT_ALIVE=/tmp/alive
HEALTHCHECK --interval=10s --timeout=10s --start-period=600s --retries=3 \
    CMD ["sh", "-c", "grep -q ready \"$SMOOTHCERT_ALIVE\" && test $(( $(date +%s) - $(stat -c %Y \"$SMOOTHCERT_ALIVE\") )) -lt 30"]
STOPSIGNAL SIGTERM
# One process a device. Not the solo pool: it sends no heartbeat while it computes.
CMD ["celery", "-A", "worker.app", "worker", "--pool", "prefork", "--concurrency", "1", \
     "--without-mingle", "--without-gossip"]
