# docker build -f k8s/containers/training.Dockerfile -t marquee/training:0.2.0 .
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# Dependencies only: the package itself is empty here, so that this layer outlives changes of the code.
RUN touch README.md && python -m venv /venv && /venv/bin/pip install --no-cache-dir -c requirements.lock '.[training]'

FROM python:3.11-slim
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
COPY --from=build /venv /venv
COPY protos /app/protos
COPY fusion_gateway /app/fusion_gateway
COPY servers /app/servers
COPY training /app/training
RUN python -m compileall -q /app && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin marquee
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "training"]
