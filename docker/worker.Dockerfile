# syntax=docker/dockerfile:1
# Two images from one file: `worker` runs flows and engines of `runtime: environment`; `stack` is the same with what the
# Prefect server needs for Redis and MLflow for PostgreSQL. Build from the repository's root:
#   docker build -f docker/worker.Dockerfile --target worker -t llm-dyno/worker .
#
# The base is pinned by tag; `--build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:…` pins its content.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
RUN python -m venv /app/.venv
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN .venv/bin/pip install --require-hashes -r requirements/runtime.lock -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY experiments experiments
COPY engine_adapters engine_adapters
COPY tasks tasks
COPY flows flows
COPY prefect.yaml ./
COPY docker/images.lock docker/docker-pool.json docker/kubernetes-pool.json docker/
RUN .venv/bin/pip install --no-deps --no-build-isolation --editable .

FROM build AS build-stack
COPY requirements/stack.lock requirements/
RUN .venv/bin/pip install --require-hashes -r requirements/stack.lock

FROM ${PYTHON_IMAGE} AS run
# llama.cpp's own threads, and the NUMA policy that CPU builds of vLLM and SGLang load.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 libnuma1 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1000 dyno && useradd --uid 1000 --gid dyno --create-home dyno && install -d -o dyno -g dyno /data
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 DYNO_HOME=/data DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false PREFECT_CLI_COLORS=false
WORKDIR /app
USER dyno

FROM run AS stack
COPY --from=build-stack /app /app

FROM run AS worker
COPY --from=build /app /app
VOLUME /data
ENTRYPOINT ["dyno"]
CMD ["--help"]
