# syntax=docker/dockerfile:1
# The load generator alone (`dyno load`, `dyno doctor`), to be run beside a server or on a machine of its own: without
# Prefect and MLflow. Build from the repository's root, and run it on the host's network, for a bridge is in the path
# of every token:
#   docker build -f docker/load-client.Dockerfile -t llm-dyno/load-client .
#   docker run --rm --network host -v "$PWD:/data" llm-dyno/load-client load http://SERVER:8000 --rate 2 --seconds 60
#
# The base is pinned by tag; `--build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:…` pins its content.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
RUN python -m venv /app/.venv
COPY docker/load-client.lock docker/
RUN .venv/bin/pip install --require-hashes -r docker/load-client.lock

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 1000 dyno && useradd --uid 1000 --gid dyno --create-home dyno && install -d -o dyno -g dyno /data
ENV PATH=/app/.venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 DYNO_HOME=/data DO_NOT_TRACK=1
COPY --from=build /app/.venv /app/.venv
COPY LICENSE /app/LICENSE
COPY experiments /app/experiments
COPY engine_adapters /app/engine_adapters
COPY tasks /app/tasks
COPY flows /app/flows
WORKDIR /data
USER dyno
ENTRYPOINT ["python", "-c", "from flows.cli import main; main()"]
CMD ["load", "--help"]
