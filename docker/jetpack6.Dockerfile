# Lineside on a Jetson with JetPack 6: TensorRT 10.3, CUDA 12.6, Python 3.10.
# Not built here: neither the base image nor a GPU was at hand. scripts/fresh_root.sh carries its steps out on a bare
# Debian without TensorRT (job gpu).
#   docker build -f docker/jetpack6.Dockerfile -t lineside:jetpack6 .
#   docker run --rm --runtime nvidia lineside:jetpack6
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS build
COPY . /src
RUN sh /src/docker/install_gpu.sh build /src /opt/lineside 12
RUN sh /src/docker/install_gpu.sh check /opt/lineside

FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
COPY docker/install_gpu.sh /opt/install_gpu.sh
COPY --from=build /opt/lineside /opt/lineside
COPY demo /data/demo
RUN sh /opt/install_gpu.sh run /data
USER lineside
WORKDIR /data
ENTRYPOINT ["/opt/lineside/bin/lineside"]
CMD ["selftest", "demo/bearing.bundle", "--out", "/data/selftest"]
