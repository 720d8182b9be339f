# nvfp4-serve for machines without a GPU: from Debian and Python packages alone.
#
# It is built from the top of the checkout, after `make wheel`:
#   python3 images/pins.py bake cpu > build/pins.json
#   docker buildx bake -f images/docker-bake.hcl -f build/pins.json cpu
#
# The engine is the managed one, made by the launcher itself: same lists with hashes,
# same patches, same checks as outside a container.

# images/pins.toml is the only place with digests; images/pins.py hands them over. The
# name below cannot be resolved, and says what to do.
ARG DEBIAN=unresolved.invalid/run-make-pins

FROM ${DEBIAN} AS system
ARG CA_CERTIFICATES
ARG LIBNUMA1
ARG PYTHON
# libnuma1 is what vLLM's CPU wheel links.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
      ca-certificates=${CA_CERTIFICATES} \
      libnuma1=${LIBNUMA1} \
      python3.11=${PYTHON} \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/ldconfig/* /var/log/apt /var/log/*.log

FROM system AS builder
ARG PYTHON
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.11-venv=${PYTHON} \
    && rm -rf /var/lib/apt/lists/*
# Where packages come from is the machine's business and stays out of the image: pip's
# settings and authorities are handed to the commands that need them, as secrets, and
# only where there are any.
RUN --mount=type=bind,source=requirements,target=/mnt/requirements \
    --mount=type=bind,source=build/wheel,target=/mnt/wheel \
    --mount=type=secret,id=pip --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache \
    export PIP_CONFIG_FILE=/run/secrets/pip \
    && python3.11 -m venv /build \
    && /build/bin/pip install --no-deps --require-hashes \
      -r /mnt/requirements/launcher.txt \
    && /build/bin/pip install --no-deps --no-index /mnt/wheel/*.whl
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache \
    export PIP_CONFIG_FILE=/run/secrets/pip UV_LINK_MODE=copy XDG_DATA_HOME=/opt \
    && engine=$(/build/bin/nvfp4-serve engine install --flavour cpu) \
    && ln -s "${engine}" /opt/nvfp4-serve/engine \
    && rm "${engine}.lock"
RUN --mount=type=bind,source=requirements,target=/mnt/requirements \
    --mount=type=secret,id=pip --mount=type=secret,id=ca \
    PIP_CONFIG_FILE=/run/secrets/pip \
    /build/bin/pip install --no-cache-dir --no-deps --require-hashes \
      --target /opt/nvfp4-serve/launcher -r /mnt/requirements/image-cpu.txt
RUN --mount=type=bind,source=build/wheel,target=/mnt/wheel \
    --mount=type=bind,source=images/parts,target=/mnt/parts \
    /opt/nvfp4-serve/engine/bin/python -I /mnt/parts/unpack.py /mnt/wheel \
    && /opt/nvfp4-serve/engine/bin/python -I /mnt/parts/describe.py \
      --target cpu --cuda ""

FROM system
COPY --from=builder /opt/nvfp4-serve /opt/nvfp4-serve
COPY --from=builder \
    /usr/local/bin/nvfp4-serve /usr/local/bin/nvfp4-serve-engine /usr/local/bin/
# Two folders to keep: weights, which any image can use, and what one engine compiled
# for one machine. Whoever the container runs as may write there.
RUN mkdir -m 1777 /cache /cache/engine /cache/huggingface
ENV HOME=/cache/engine \
    HF_HOME=/cache/huggingface \
    XDG_STATE_HOME=/tmp/state \
    USER=nvfp4-serve \
    LANG=C.UTF-8 \
    NVFP4_SERVE_HOST=0.0.0.0
WORKDIR /cache
# Any other user does as well. Group 0, as OpenShift starts containers.
USER 1000:0
EXPOSE 8000
# The launcher stops its engine and then itself.
STOPSIGNAL SIGTERM
# The largest checkpoints are read for half an hour before the server answers.
HEALTHCHECK --interval=15s --timeout=15s --start-period=60m --retries=5 \
    CMD ["/opt/nvfp4-serve/engine/bin/python", "-I", "/opt/nvfp4-serve/healthcheck.py"]
ENTRYPOINT ["/usr/local/bin/nvfp4-serve"]
CMD ["--help"]
