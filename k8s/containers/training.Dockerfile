# docker build --build-arg GIT_COMMIT=$(git rev-parse HEAD) -f k8s/containers/training.Dockerfile -t marquee/training:0.2.0 .
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# The index of PyTorch's builds for CPUs makes the image 4 GB smaller; without one, torch is the build for CUDA.
ARG TORCH_INDEX=
RUN python -m venv /venv && { [ -z "$TORCH_INDEX" ] || \
    /venv/bin/pip install --no-cache-dir -c requirements.lock --index-url "$TORCH_INDEX" torch; }
# Dependencies only: the package itself is empty here, so that this layer outlives changes of the code.
RUN touch README.md && /venv/bin/pip install --no-cache-dir -c requirements.lock '.[training]'

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
COPY --from=build /venv /venv
COPY protos /app/protos
COPY fusion_gateway /app/fusion_gateway
COPY servers /app/servers
COPY training /app/training
RUN python -m compileall -q /app && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin marquee
# After all that is slow, for it changes with every commit.
ARG GIT_COMMIT=unknown
ENV MARQUEE_GIT_COMMIT=$GIT_COMMIT
LABEL org.opencontainers.image.title=training org.opencontainers.image.version=0.2.0 \
    org.opencontainers.image.revision=$GIT_COMMIT org.opencontainers.image.licenses=Apache-2.0
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "training"]
