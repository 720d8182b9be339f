# nvfp4-serve for RTX PRO Blackwell: amd64, compute capability 12.0.
#
# bake builds `base` first and hands it over; the name below cannot be resolved.
ARG ENGINE=unresolved.invalid/bake-builds-base-first

FROM ${ENGINE}
# none, or b12x: optional kernels, for `--moe-backend b12x`. Nothing chooses them by
# itself, and their own README says that they are not for production.
ARG KERNELS=none
USER 0
# What FlashInfer compiles for; and room for what the driver compiles from PTX,
# FlashAttention 2 among it.
ENV FLASHINFER_CUDA_ARCH_LIST=12.0f \
    CUDA_CACHE_MAXSIZE=4294967296
RUN --mount=type=bind,source=images/parts,target=/mnt/parts \
    --mount=type=bind,source=requirements,target=/mnt/requirements \
    --mount=type=secret,id=pip --mount=type=secret,id=ca \
    python3 -I /mnt/parts/add_kernels.py "${KERNELS}" /mnt/requirements \
    && python3 -I /mnt/parts/retarget.py rtx-pro --capability 12.0 \
      --environment FLASHINFER_CUDA_ARCH_LIST CUDA_CACHE_MAXSIZE
USER 1000:0
