# Build: docker build -t cyclegan-style .
# Train: docker run --gpus all --shm-size 2g -v "$PWD/data:/app/data" -v "$PWD/runs:/app/runs" \
#          cyclegan-style train.py --config configs/paper.yaml --data.a data/photos --data.b data/paintings
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04

# g++ and the Python headers serve torch.compile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv python3-dev g++ \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 painter \
    && mkdir -p /app/data /app/runs \
    && python3 -m venv /opt/venv \
    && chown -R painter /app /opt/venv
USER painter
WORKDIR /app
ENV PATH="/opt/venv/bin:$PATH"

COPY --chown=painter pyproject.toml README.md LICENSE ./
COPY --chown=painter cyclegan_style cyclegan_style
COPY --chown=painter configs configs
RUN pip install --no-cache-dir -e .
COPY --chown=painter train.py ./
COPY --chown=painter scripts scripts

VOLUME ["/app/data", "/app/runs"]
ENTRYPOINT ["accelerate", "launch"]
CMD ["train.py"]
