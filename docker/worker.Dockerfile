# The certifier, and the command line for its operator (`smoothcert bench`). PyTorch's Linux wheels bring CUDA with them:
# the host needs only the driver and its container toolkit, and without a GPU the same image certifies on the CPU. The
# root file system may be mounted read-only.
#   docker build -f docker/worker.Dockerfile -t smoothcert-worker .
FROM python:3.11-slim-bookworm AS build
# An index beside the usual one, where there is a mirror.
ARG PIP_EXTRA_INDEX_URL
# For hosts without a GPU: PyTorch's index of CPU wheels (a tenth of the size).
ARG TORCH_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY pyproject.toml requirements.lock ./
# Without the packages beside it this installs the dependencies alone, in a layer of several GB that outlives edits
# of the code; the metadata names two files whose content doesn't matter here.
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip --python /venv/bin/python install --constraint requirements.lock --index-url "$TORCH_INDEX" torch torchvision; \
    fi
RUN touch README.md LICENSE \
 && pip --python /venv/bin/python install --constraint requirements.lock '.[worker,cpu]'
COPY worker /app/worker
COPY smoothcert /app/smoothcert
COPY models /app/models
RUN /venv/bin/python -m compileall -q /app

FROM python:3.11-slim-bookworm
# Which parts of the driver the container toolkit brings in. Which GPUs it brings in is not said here: none, unless whoever
# starts the container asks for one (`--gpus`, a reservation, `nvidia.com/gpu`).
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SMOOTHCERT_CACHE=/tmp/smoothcert \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# What torch.compile needs, where a compiled set-up is pinned (docs/deploy.md).
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin smoothcert
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
USER 10001
# The parent process gives signs of life, so a long job doesn't make its worker look dead; they say `ready` once its child has
# loaded what it should. A look at their file costs nothing. `celery inspect` gets no answer:
# remote control is off (worker/app.py), as asking so costs seconds of a core and fails when the host is busy.
ENV SMOOTHCERT_ALIVE=/tmp/alive
HEALTHCHECK --interval=10s --timeout=10s --start-period=600s --retries=3 \
    CMD ["sh", "-c", "grep -q ready \"$SMOOTHCERT_ALIVE\" && test $(( $(date +%s) - $(stat -c %Y \"$SMOOTHCERT_ALIVE\") )) -lt 30"]
STOPSIGNAL SIGTERM
# One process for one device; never the solo pool, whose parent computes itself and so gives no signs of life meanwhile.
CMD ["celery", "-A", "worker.app", "worker", "--pool", "prefork", "--concurrency", "1", \
     "--without-mingle", "--without-gossip"]
