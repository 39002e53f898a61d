# docker build --build-arg GIT_COMMIT=$(git rev-parse HEAD) -f k8s/containers/fusion-gateway.Dockerfile -t marquee/fusion-gateway:0.2.0 .
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# Dependencies only: the package itself is empty here, so that this layer outlives changes of the code.
RUN touch README.md && python -m venv /venv && /venv/bin/pip install --no-cache-dir -c requirements.lock '.[gateway,console,tracing]'

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
COPY --from=build /venv /venv
COPY protos /app/protos
COPY servers/__init__.py /app/servers/
COPY servers/runtime /app/servers/runtime
COPY fusion_gateway /app/fusion_gateway
RUN python -m compileall -q /app && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin marquee
# After all that is slow, for it changes with every commit.
ARG GIT_COMMIT=unknown
ENV MARQUEE_GIT_COMMIT=$GIT_COMMIT
LABEL org.opencontainers.image.title=fusion-gateway org.opencontainers.image.version=0.2.0 \
    org.opencontainers.image.revision=$GIT_COMMIT org.opencontainers.image.licenses=Apache-2.0
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "fusion_gateway"]
