# The index daemon. Build from the repository's root:
#
#   docker build -f docker/indexd.Dockerfile --target cpu -t vcfrag-indexd:cpu .
#   docker build -f docker/indexd.Dockerfile --target gpu -t vcfrag-indexd:gpu .
#
# The gpu target needs NVIDIA's container runtime on the host; the CUDA libraries come with faiss-gpu's own wheels.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS wheels
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY vcfrag_core vcfrag_core
COPY vcfrag_train vcfrag_train
COPY vcfrag_indexd vcfrag_indexd
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . ./vcfrag_indexd

FROM python:${PYTHON}-slim-bookworm AS base
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin vcfrag \
    && install -d -o vcfrag -g vcfrag /panels /cache
ENV PYTHONUNBUFFERED=1
EXPOSE 50510 50511 50512
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["vcfrag-indexd", "health", "--address", "127.0.0.1:50511"]
ENTRYPOINT ["vcfrag-indexd"]
CMD ["serve", "--config", "/etc/vcfrag/indexd.toml"]

FROM base AS cpu
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/vcfrag-*.whl "$(echo /wheels/vcfrag_indexd-*.whl)[cpu]" \
    && vcfrag compile
USER vcfrag

FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/vcfrag-*.whl "$(echo /wheels/vcfrag_indexd-*.whl)[gpu]" \
    && vcfrag compile
USER vcfrag
