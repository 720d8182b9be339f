# In place of vLLM's official image: Debian, Python, uv, and what copy_packages() copied.
ARG DEBIAN
FROM ${DEBIAN}
ARG PYTHON
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.11=${PYTHON} \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s python3.11 /usr/bin/python3
COPY --chmod=755 uv /usr/local/bin/uv
COPY packages /usr/local/lib/python3.11/dist-packages
ENV TORCH_CUDA_ARCH_LIST="10.0 12.0"
ENTRYPOINT ["vllm", "serve"]
