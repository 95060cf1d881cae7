# Three images; none runs as root.
#
#   gateway      the HTTP server, its embedded backend and the shipped models; no torch in it
#   torchserve   TorchServe with the same models, for a gateway that shares its network
#   train        what trains, evaluates and exports
#
#   docker build --target gateway -t holdfast:gateway .
#   docker run --rm -p 127.0.0.1:8000:8000 holdfast:gateway

FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/holdfast/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 holdfast

FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY holdfast holdfast
COPY training training
COPY serving serving
RUN pip wheel --quiet --no-deps --wheel-dir /wheel .

# The environment that an image gets whole. It is filled from here by the pip of this stage and has none itself.
# What Holdfast depends on comes first, without its code, which changes more often.
FROM base AS environment
WORKDIR /src
ENV INSTALL="pip --python /opt/holdfast/bin/python install --quiet --no-cache-dir --progress-bar off --constraint constraints.txt"
RUN python -m venv --without-pip /opt/holdfast && touch README.md LICENSE
COPY pyproject.toml constraints.txt ./
COPY holdfast/version.py holdfast/

FROM environment AS gateway-environment
RUN $INSTALL '.[serve]'
COPY --from=wheel /wheel /wheel
RUN $INSTALL --no-deps --force-reinstall /wheel/*.whl

FROM environment AS torchserve-environment
RUN $INSTALL '.[torchserve]'
COPY --from=wheel /wheel /wheel
RUN $INSTALL --no-deps --force-reinstall /wheel/*.whl
COPY model_store model_store
RUN mkdir /archives && for name in $(ls model_store); do holdfast archive "$name" --output /archives; done

FROM environment AS train-environment
RUN $INSTALL '.[train]'
COPY --from=wheel /wheel /wheel
RUN $INSTALL --no-deps --force-reinstall /wheel/*.whl


FROM base AS gateway
COPY --from=gateway-environment /opt/holdfast /opt/holdfast
COPY model_store /srv/model_store
# Jobs are kept here; give them a volume, or HOLDFAST_JOBS_DATABASE a PostgreSQL.
RUN install -d -o 10001 /srv/jobs
# The container's own network is the fence: what reaches the port was let in by whoever published it. Publish it
# to loopback, or to a network where everyone may classify; or mount a file of keys and name it in
# HOLDFAST_KEYS_FILE, and everyone has to show one.
ENV HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_PORT=8000 \
    HOLDFAST_ALLOW_UNAUTHENTICATED=1 \
    HOLDFAST_MODEL_STORE=/srv/model_store
EXPOSE 8000
WORKDIR /srv
USER 10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; e = os.environ; u.urlopen('http' + 's' * bool(e.get('HOLDFAST_TLS_CERTIFICATE')) + '://127.0.0.1:' + e['HOLDFAST_PORT'] + '/livez', timeout=2, context=ssl._create_unverified_context())"]
ENTRYPOINT ["holdfast"]
CMD ["serve"]


# TorchServe asks nobody who they are, so it listens on loopback only, and this image publishes no port. Give it
# the gateway's network: two containers of one Kubernetes pod, or
#
#   docker run -d --name gateway -e HOLDFAST_BACKEND=torchserve -p 127.0.0.1:8000:8000 holdfast:gateway
#   docker run -d --network container:gateway holdfast:torchserve
#
# The gateway is alive at once, and ready when TorchServe has answered it.
FROM base AS torchserve
COPY --from=torchserve-environment /opt/holdfast /opt/holdfast
COPY --from=torchserve-environment /archives /srv/model_store
ENV HOLDFAST_MODEL_STORE=/srv/model_store
WORKDIR /srv
USER 10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ping', timeout=2)"]
ENTRYPOINT ["holdfast"]
CMD ["torchserve"]


#   docker run --rm --gpus all --user $(id -u) -v ./data:/data -v ./runs:/workspace/runs \
#       holdfast:train train fs-cifar10
FROM base AS train
# torch.compile writes C++ and needs a compiler for it.
RUN apt-get update -qq && apt-get install -qq --no-install-recommends g++ >/dev/null && rm -rf /var/lib/apt/lists/*
COPY --from=train-environment /opt/holdfast /opt/holdfast
RUN install -d -o holdfast -g holdfast /workspace /data
ENV HOLDFAST_DATA=/data
WORKDIR /workspace
USER 10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["holdfast"]
CMD ["train", "--list"]
