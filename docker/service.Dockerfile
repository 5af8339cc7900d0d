# The HTTP service, and the command line for its operator (`smoothcert keys`). The final image has no torch, no compiler and no
# pip; its root file system may be mounted read-only.
#   docker build -f docker/service.Dockerfile -t smoothcert-service .
FROM python:3.11-slim-bookworm AS build
# An additional index, for example a mirror.
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY pyproject.toml requirements.lock ./
# Without the packages this installs the dependencies alone, in a layer that edits of the code do not invalidate. The
# metadata names two files whose content does not matter here.
RUN touch README.md LICENSE \
 && pip --python /venv/bin/python install --constraint requirements.lock '.[service]' \
 && find /venv -type d -name tests -prune -exec rm -r {} +
COPY service /app/service
COPY smoothcert /app/smoothcert
COPY models /app/models
RUN /venv/bin/python -m compileall -q /app

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin smoothcert
COPY --from=build /venv /venv
COPY --from=build /app /app
# A new volume for API keys belongs to this user (docker-compose.keys.yml).
RUN install -d -o 10001 -m 700 /keys
WORKDIR /app
USER 10001
EXPOSE 8000
# A bare socket: importing libraries six times a minute would be most of an idle host's load.
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import socket; s = socket.create_connection(('127.0.0.1', 8000), 8); \
s.sendall(b'GET /health/live HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in s.recv(64))"]
STOPSIGNAL SIGTERM
# All interfaces of the container; whoever runs it decides what the host publishes.
CMD ["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]
