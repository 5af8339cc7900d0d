# The HTTP face. No torch, no compiler, no pip in what runs; the root file system may be mounted read-only.
#   docker build -f docker/service.Dockerfile -t smoothcert-service .
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY pyproject.toml requirements.lock ./
# Without the packages beside it this installs the dependencies alone, in a layer that outlives edits of the code;
# the metadata names two files whose content doesn't matter here.
RUN touch README.md LICENSE \
 && pip --python /venv/bin/python install --constraint requirements.lock '.[service]'
COPY certification /app/certification
COPY service /app/service
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
WORKDIR /app
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
STOPSIGNAL SIGTERM
# All interfaces of the container, not of the host: what is published is decided by who runs it.
CMD ["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]
