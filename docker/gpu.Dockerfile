# Lineside on a desktop GPU: TensorRT 11.2, CUDA 13, Python 3.12.
# Not built here: neither the base image nor a GPU was at hand. scripts/fresh_root.sh carries its steps out on a bare
# Debian without TensorRT (job gpu).
#   docker build -f docker/gpu.Dockerfile -t lineside:gpu .
#   docker run --rm --gpus all lineside:gpu
FROM nvcr.io/nvidia/tensorrt:26.08-py3 AS build
COPY . /src
RUN sh /src/docker/install_gpu.sh build /src /opt/lineside 13
RUN sh /src/docker/install_gpu.sh check /opt/lineside

FROM nvcr.io/nvidia/tensorrt:26.08-py3
COPY docker/install_gpu.sh /opt/install_gpu.sh
COPY --from=build /opt/lineside /opt/lineside
COPY demo /data/demo
RUN sh /opt/install_gpu.sh run /data
USER lineside
WORKDIR /data
ENTRYPOINT ["/opt/lineside/bin/lineside"]
CMD ["selftest", "demo/bearing.bundle", "--out", "/data/selftest"]
