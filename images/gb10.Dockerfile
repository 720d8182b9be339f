# nvfp4-serve for GB10 (DGX Spark): arm64, compute capability 12.1.
#
# bake builds `base` first and hands it over; the name below cannot be resolved.
ARG ENGINE=unresolved.invalid/bake-builds-base-first

FROM ${ENGINE}
# none, or b12x: optional kernels, for `--moe-backend b12x`. Nothing chooses them by
# itself, and their own README says that they are not for production.
ARG KERNELS=none
USER 0
# What FlashInfer and CuTe compile for; and room for what the driver compiles from PTX,
# FlashAttention 2 among it.
ENV CUTE_DSL_ARCH=sm_121a \
    FLASHINFER_CUDA_ARCH_LIST=12.1a \
    CUDA_CACHE_MAXSIZE=4294967296
RUN --mount=type=bind,source=images/parts,target=/mnt/parts \
    --mount=type=bind,source=requirements,target=/mnt/requirements \
    --mount=type=secret,id=pip --mount=type=secret,id=ca \
    python3 -I /mnt/parts/add_kernels.py "${KERNELS}" /mnt/requirements \
    && python3 -I /mnt/parts/retarget.py gb10 --capability 12.1 \
      --environment CUTE_DSL_ARCH FLASHINFER_CUDA_ARCH_LIST CUDA_CACHE_MAXSIZE
USER 1000:0
