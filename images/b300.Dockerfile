# nvfp4-serve for B300 (amd64) and GB300 (arm64): compute capability 10.3.
#
# bake builds `base` first and hands it over; the name below cannot be resolved.
ARG ENGINE=unresolved.invalid/bake-builds-base-first

FROM ${ENGINE}
# b300 or gb300.
ARG TARGET=b300
USER 0
# What FlashInfer compiles for; and room for what the driver compiles from PTX.
ENV FLASHINFER_CUDA_ARCH_LIST=10.3a \
    CUDA_CACHE_MAXSIZE=4294967296
RUN --mount=type=bind,source=images/parts,target=/mnt/parts \
    python3 -I /mnt/parts/retarget.py "${TARGET}" --capability 10.3 \
      --environment FLASHINFER_CUDA_ARCH_LIST CUDA_CACHE_MAXSIZE
USER 1000:0
