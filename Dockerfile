# l2m in a container, CPU by default.
#   docker build -t l2m .                                                CPU
#   docker build -t l2m --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg EXTRAS='[fla]' .
#     GPU, run with --gpus all; cu130 needs an NVIDIA driver of 580 or newer on the host, cu126 one of 525
#   docker run --rm -v "$PWD:/work" l2m search configs/quickstart.yaml
FROM debian:bookworm-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/l2m && /opt/l2m/bin/pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY l2m_design ./l2m_design
RUN /opt/l2m/bin/uv pip install --no-cache --python /opt/l2m/bin/python --constraint constraints.txt \
    --extra-index-url "$TORCH_INDEX" --index-strategy unsafe-best-match ".$EXTRAS" \
    && /opt/l2m/bin/uv pip uninstall --python /opt/l2m/bin/python uv

FROM debian:bookworm-slim
# Triton builds a small C module with the headers of Python the first time that a kernel runs; what of a compiled graph
# runs on the CPU, torch.compile builds in C++, and names by openssl
RUN apt-get update && apt-get install -y --no-install-recommends python3 libgomp1 g++ openssl python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 l2m && mkdir /work && chown l2m /work
COPY --from=build /opt/l2m /opt/l2m
COPY --chown=l2m configs /work/configs
COPY --chown=l2m search_spaces /work/search_spaces
ENV PATH=/opt/l2m/bin:$PATH L2M_CACHE=/home/l2m/.cache/l2m-design
USER l2m
WORKDIR /work
ENTRYPOINT ["l2m"]
CMD ["--help"]
