# Lineside on a desktop: pictures, videos, cameras and the page, on onnxruntime's CPU engine.
#   docker build -f docker/desktop.Dockerfile -t lineside .
#   docker run --rm lineside
# scripts/fresh_root.sh carries these instructions out without a container engine; it knows those used here, one a line.
FROM debian:bookworm-slim AS build
COPY . /src
RUN sh /src/docker/install.sh build /src /opt/lineside

FROM debian:bookworm-slim
COPY docker/install.sh /opt/install.sh
COPY --from=build /opt/lineside /opt/lineside
COPY demo /data/demo
RUN sh /opt/install.sh run /data
USER lineside
WORKDIR /data
ENTRYPOINT ["/opt/lineside/bin/lineside"]
CMD ["demo"]
