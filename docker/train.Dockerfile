# The client: fit, impute, evaluate, compare. Build from the repository's root:
#
#   docker build -f docker/train.Dockerfile -t vcfrag .
#
# It talks to a daemon elsewhere (--daemon HOST:PORT); for one inside its own process, build with
# --build-arg ENGINE=cpu.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS wheels
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY vcfrag_core vcfrag_core
COPY vcfrag_train vcfrag_train
COPY vcfrag_indexd vcfrag_indexd
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . ./vcfrag_indexd

FROM python:${PYTHON}-slim-bookworm
ARG ENGINE=
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin vcfrag \
    && install -d -o vcfrag -g vcfrag /data /cache
ENV PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/cache/matplotlib
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/vcfrag-*.whl)[train]" \
    && if [ -n "$ENGINE" ]; then pip install --no-cache-dir "$(echo /wheels/vcfrag_indexd-*.whl)[$ENGINE]"; fi \
    && vcfrag compile
USER vcfrag
WORKDIR /data
ENTRYPOINT ["vcfrag"]
CMD ["--help"]
