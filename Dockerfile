# Training on GPUs, in a container:
#
#     docker build -t cloudtf .                              # or --build-arg STACK=classic
#     docker run --rm --gpus all -v "$PWD:/data" -w /data cloudtf \
#       train --flagfile=/opt/cloudtf/flags/gpu_mirrored.flags --data_dir=records --run_dir=runs/a
#
# It has not been built or run where it was written, for want of Docker and of a GPU. CUDA's libraries
# come as wheels with the extra; of the host it needs the NVIDIA driver and the container toolkit.
FROM python:3.11-slim

ARG STACK=current
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/cloudtf
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY cloudtf cloudtf
COPY flags flags
RUN pip install ".[${STACK}-gpu]"

ENTRYPOINT ["cloudtf"]
CMD ["--help"]
