# syntax=docker/dockerfile:1
ARG NODE_VERSION=22
# The newest for which every package of the lock has a wheel.
ARG PYTHON_VERSION=3.14

FROM node:${NODE_VERSION}-slim AS explorer
WORKDIR /build/gateway/explorer
COPY gateway/explorer/package.json gateway/explorer/package-lock.json gateway/explorer/.npmrc ./
RUN npm ci --no-audit --no-fund --loglevel=error
COPY gateway/explorer ./
RUN npm run --silent build

FROM python:${PYTHON_VERSION}-slim AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements ./requirements
# `extras` for an image that can share a store and send traces, `tracing` for traces; the runtime alone unless told.
ARG LOCK
# The runtime's own environment gets no pip, so pip stands in another one.
RUN python -m venv --without-pip /opt/gateway
RUN python -m venv /opt/tools && /opt/tools/bin/python -m pip install --require-hashes -r requirements/dev.txt
RUN /opt/tools/bin/python -m pip --python /opt/gateway/bin/python install --require-hashes -r "requirements/${LOCK:-runtime}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY --from=explorer /build/gateway/http/static ./gateway/http/static
RUN /opt/tools/bin/python -m hatchling build -t wheel -d dist
RUN /opt/tools/bin/python -m pip --python /opt/gateway/bin/python install --no-deps --no-index dist/*.whl

FROM python:${PYTHON_VERSION}-slim AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="leyr-graphql-gateway" \
      org.opencontainers.image.description="One GraphQL endpoint in front of Leyr's REST API" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.authors="The Leyr GraphQL gateway authors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 GATEWAY_HOST=0.0.0.0
COPY --from=wheel /opt/gateway /opt/gateway
WORKDIR /
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["/opt/gateway/bin/gateway", "healthcheck"]
ENTRYPOINT ["/opt/gateway/bin/gateway"]
CMD ["serve"]
