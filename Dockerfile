# Train: docker build -t cyclegan-style .
#        docker run --gpus all --shm-size 2g -v "$PWD/data:/app/data" -v "$PWD/runs:/app/runs" \
#          cyclegan-style train.py --config configs/paper.yaml --data.a data/photos --data.b data/paintings
# Serve: docker build -t cyclegan-style:serve --target serve .
#        docker run --gpus all --read-only --tmpfs /tmp -p 8000:8000 -e CYCLEGAN_STYLE_TOKEN \
#          -v "$PWD/runs:/app/runs:ro" cyclegan-style:serve --model runs/demo
#
# The CUDA of the image and of PyTorch's wheels (cu130 below) is the same and is changed together.
# The wheels bring all of CUDA and cuDNN but the driver, which is the host's: what the image adds is
# the check, when a container starts, that the driver is new enough for this CUDA (580 or later, or
# on GPUs of data centres an older one that NVIDIA lists as compatible). So its smallest kind will do.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS program

# g++ and the Python headers serve torch.compile. Debian keeps one version of a package at a time, so
# that one that is pinned cannot be installed soon after.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv python3-dev g++ \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 painter \
    && mkdir -p /app/data /app/runs \
    && python3 -m venv /opt/venv \
    && chown -R painter /app /opt/venv
# A number, by which Kubernetes sees that it is not root.
USER 10001
WORKDIR /app
ENV PATH="/opt/venv/bin:$PATH"

# From an index with wheels for this CUDA alone: PyPI's are for whichever is newest at their release.
# What follows finds them installed, and they stay in their layer while the program changes. Which
# versions fit is said in pyproject.toml.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cu130

COPY --chown=10001 pyproject.toml README.md LICENSE ./
COPY --chown=10001 cyclegan_style cyclegan_style
COPY --chown=10001 configs configs
RUN pip install --no-cache-dir -e .

# The service and the page. Nothing is written but below /tmp, so that the rest may be read-only.
FROM program AS serve
RUN pip install --no-cache-dir -e '.[serve]'
ENV CYCLEGAN_STYLE_CACHE=/tmp/cyclegan_style HF_HOME=/tmp/huggingface
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["cyclegan-style", "serve", "--host", "0.0.0.0"]
CMD ["--model", "runs/demo"]

FROM program AS train
COPY --chown=10001 train.py ./
COPY --chown=10001 scripts scripts
VOLUME ["/app/data", "/app/runs"]
ENTRYPOINT ["accelerate", "launch"]
CMD ["train.py"]
