# Three images; none runs as root, and each runs with a root file system that is read-only.
#
#   gateway      the HTTP server, its embedded backend and the shipped models; no torch in it
#   torchserve   TorchServe with the same models, for a gateway that shares its network
#   train        what trains, evaluates and exports
#
#   docker build --target gateway -t holdfast:gateway .
#   docker run --rm -p 127.0.0.1:8000:8000 holdfast:gateway
#
# scripts/test-image builds and tries them; docs/deployment.md says how they are run.

FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/holdfast/bin:$PATH PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 holdfast && useradd --create-home --uid 10001 --gid 10001 holdfast

FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY holdfast holdfast
COPY training training
COPY serving serving
COPY clients/python clients/python
RUN pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /wheel . ./clients/python

# The environment that an image gets whole. It is filled from here by the pip of this stage and has none itself.
# What Holdfast depends on comes first, without its code, which changes more often; every version is one that
# the tests passed with.
FROM base AS environment
WORKDIR /src
ENV INSTALL="pip --python /opt/holdfast/bin/python install --quiet --no-cache-dir --progress-bar off --constraint constraints.txt"
RUN python -m venv --without-pip /opt/holdfast && touch README.md LICENSE
COPY pyproject.toml constraints.txt ./
COPY holdfast/version.py holdfast/

FROM environment AS gateway-environment
RUN apt-get update -qq && apt-get install -qq --no-install-recommends binutils >/dev/null
RUN $INSTALL '.[serve,telemetry]'
# What no server needs: tests, sources, what ONNX Runtime converts models with, and what debuggers read.
RUN cd /opt/holdfast/lib/python3*/site-packages && \
    find . -depth -type d -name tests -exec rm -r {} + && \
    find . -name '*.c' -o -name '*.h' -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.a' | xargs rm && \
    (cd onnxruntime && rm -r datasets quantization tools transformers) && \
    find . -name '*.cpython-*.so' -exec strip --strip-debug {} +
COPY --from=wheel /wheel /wheel
RUN $INSTALL --no-deps --force-reinstall /wheel/*.whl

# PyTorch's packages bring CUDA, which is four fifths of an image. Where there is no GPU: PyTorch has an index of
# builds without it (--build-arg PIP_EXTRA_INDEX_URL=...), or name one (--build-arg TORCH='torch==2.13.0+cpu').
FROM environment AS torch-environment
ARG PIP_EXTRA_INDEX_URL=
ARG TORCH=
RUN [ -z "$TORCH" ] || { sed -i '/^torch==/d' constraints.txt && echo "$TORCH" >> constraints.txt; }

FROM torch-environment AS torchserve-environment
RUN $INSTALL '.[torchserve]'
COPY --from=wheel /wheel /wheel
RUN $INSTALL --no-deps --force-reinstall /wheel/*.whl

FROM torchserve-environment AS archives
COPY model_store model_store
RUN mkdir /archives && for name in $(ls model_store); do holdfast archive "$name" --output /archives || exit; done

FROM torch-environment AS train-environment
RUN $INSTALL '.[train]'
COPY --from=wheel /wheel /wheel
RUN $INSTALL --no-deps --force-reinstall /wheel/*.whl


FROM base AS gateway
# Jobs are kept in /srv/jobs, unless HOLDFAST_JOBS_DATABASE names a PostgreSQL; /srv/keys is for a file of keys.
RUN install -d -o 10001 -g 10001 -m 700 /srv/jobs /srv/keys
COPY --from=gateway-environment /opt/holdfast /opt/holdfast
COPY model_store /srv/model_store
# A TorchServe beside it may be slow to begin; the gateway is alive meanwhile, and waits.
# The container's own network is the fence: what reaches the port was let in by whoever published it. Publish it
# to loopback, where the pages of other hosts in a browser get no answer, or name the hosts that it goes by in
# HOLDFAST_ALLOWED_HOSTS; or mount a file of keys and name it in HOLDFAST_KEYS_FILE, and everyone has to show one.
ENV HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_PORT=8000 \
    HOLDFAST_ALLOW_UNAUTHENTICATED=1 \
    HOLDFAST_ALLOWED_HOSTS=localhost \
    HOLDFAST_MODEL_STORE=/srv/model_store \
    HOLDFAST_BACKEND_START_TIMEOUT=600 \
    HOLDFAST_JOBS_DATABASE=sqlite:////srv/jobs/jobs.sqlite
EXPOSE 8000
VOLUME /srv/jobs
WORKDIR /srv
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; e = os.environ; u.urlopen('http' + 's' * bool(e.get('HOLDFAST_TLS_CERTIFICATE')) + '://127.0.0.1:' + e['HOLDFAST_PORT'] + '/livez', timeout=2, context=ssl._create_unverified_context())"]
ENTRYPOINT ["holdfast"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdfast gateway" \
      org.opencontainers.image.description="Serves image classifiers over HTTP and attacks them on demand" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"


# TorchServe asks nobody who they are, so it listens on loopback only, and this image publishes no port. Give it
# the gateway's network: two containers of one Kubernetes pod, or
#
#   docker run -d --name gateway -e HOLDFAST_BACKEND=torchserve -p 127.0.0.1:8000:8000 holdfast:gateway
#   docker run -d --network container:gateway holdfast:torchserve
#
# The gateway is alive at once, and ready when TorchServe has answered it.
FROM base AS torchserve
COPY --from=torchserve-environment /opt/holdfast /opt/holdfast
COPY --from=archives /archives /srv/model_store
ENV HOLDFAST_MODEL_STORE=/srv/model_store
WORKDIR /srv
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ping', timeout=2)"]
ENTRYPOINT ["holdfast"]
CMD ["torchserve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdfast TorchServe" \
      org.opencontainers.image.description="Runs a gateway's models on TorchServe, on loopback" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"


#   docker run --rm --gpus all --user $(id -u) -v ./data:/data -v ./runs:/workspace/runs \
#       holdfast:train train fs-cifar10
FROM base AS train
# torch.compile writes C++ and needs a compiler for it, and Python's headers, which not every base has.
RUN apt-get update -qq && \
    headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))') && \
    apt-get install -qq --no-install-recommends g++ $([ -e "$headers/Python.h" ] || echo libpython3-dev) >/dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*
RUN install -d -o 10001 -g 10001 /workspace /data
COPY --from=train-environment /opt/holdfast /opt/holdfast
# Users of any number have a name, by which torch.compile calls its cache, and a place for Matplotlib's.
ENV HOLDFAST_DATA=/data USER=holdfast MPLCONFIGDIR=/tmp/matplotlib
VOLUME /workspace
WORKDIR /workspace
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["holdfast"]
CMD ["train", "--list"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdfast training" \
      org.opencontainers.image.description="Trains, evaluates and exports classifiers that hold under attack" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
