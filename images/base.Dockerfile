# nvfp4-serve for NVIDIA GPUs: vLLM's official image, by digest, with our patches, plugin,
# recipes and launcher. The images for one machine (gb10, b300, rtx-pro) build on it.
#
# It is built from the top of the checkout, after `make wheel`:
#   python3 images/pins.py bake base > build/pins.json
#   docker buildx bake -f images/docker-bake.hcl -f build/pins.json base
#
# Nothing is fetched: what the launcher needs, the base has, and unpack.py holds it to
# that. Nothing is compiled: the patches are Python alone.

# images/pins.toml is the only place with digests; images/pins.py hands them over. The
# name below cannot be resolved, and says what to do.
ARG BASE=unresolved.invalid/run-make-pins

FROM ${BASE}
ARG CUDA
USER 0
RUN --mount=type=bind,source=build/wheel,target=/mnt/wheel \
    --mount=type=bind,source=images/parts,target=/mnt/parts \
    python3 -I /mnt/parts/unpack.py /mnt/wheel \
    && python3 -I /mnt/parts/describe.py --target base --cuda "${CUDA}" \
      --environment CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES TORCH_CUDA_ARCH_LIST \
      VLLM_ENABLE_CUDA_COMPATIBILITY \
    && mkdir -m 1777 /cache /cache/engine /cache/huggingface
# Two folders to keep: weights, which any image can use, and what one engine compiled
# for one GPU. Whoever the container runs as may write there.
ENV HOME=/cache/engine \
    HF_HOME=/cache/huggingface \
    XDG_STATE_HOME=/tmp/state \
    USER=nvfp4-serve \
    LANG=C.UTF-8 \
    NVFP4_SERVE_HOST=0.0.0.0
LABEL com.nvidia.cuda.toolkit=${CUDA}
WORKDIR /cache
# Any other user does as well. Group 0, as OpenShift starts containers.
USER 1000:0
EXPOSE 8000
# The launcher stops its engine and then itself.
STOPSIGNAL SIGTERM
# The largest checkpoints are read for half an hour before the server answers.
HEALTHCHECK --interval=15s --timeout=15s --start-period=60m --retries=5 \
    CMD ["python3", "-I", "/opt/nvfp4-serve/healthcheck.py"]
ENTRYPOINT ["/usr/local/bin/nvfp4-serve"]
CMD ["--help"]
