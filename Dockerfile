# Build: docker build -t cyclegan-style .
# Train: docker run --gpus all --shm-size 2g -v "$PWD/data:/app/data" -v "$PWD/runs:/app/runs" \
#          cyclegan-style train.py --config configs/paper.yaml --data.a data/photos --data.b data/paintings
#
# The CUDA of the image and of PyTorch's wheels (cu130 below) is the same and is changed together.
# The wheels bring all of CUDA and cuDNN but the driver, which is the host's: what the image adds is
# the check, when a container starts, that the driver is new enough for this CUDA (580 or later, or
# on GPUs of data centres an older one that NVIDIA lists as compatible). So its smallest kind will do.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04

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

# From an index with wheels for this CUDA alone: PyPI's are for whichever is newest at their release.
# What follows finds them installed, and they stay in their layer while the program changes.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cu130

COPY --chown=painter pyproject.toml README.md LICENSE ./
COPY --chown=painter cyclegan_style cyclegan_style
COPY --chown=painter configs configs
RUN pip install --no-cache-dir -e .
COPY --chown=painter train.py ./
COPY --chown=painter scripts scripts

VOLUME ["/app/data", "/app/runs"]
ENTRYPOINT ["accelerate", "launch"]
CMD ["train.py"]
