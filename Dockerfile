# The server alone: built from this folder, run as nobody on a read-only root.
#
#   docker build -t streamhouse .
#   docker run --rm --read-only -p 127.0.0.1:9092:9092 -v streamhouse:/var/lib/streamhouse \
#     -e STREAMHOUSE_KAFKA_ADDR=0.0.0.0:9092 -e STREAMHOUSE_KAFKA_ADVERTISED=localhost:9092 streamhouse
FROM rust:1.95.0-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p streamhouse-server --bin streamhouse \
    && install target/release/streamhouse /usr/local/bin/streamhouse

FROM debian:trixie-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 /var/lib/streamhouse
COPY --from=build /usr/local/bin/streamhouse /usr/local/bin/streamhouse
COPY --chmod=0755 docker/entrypoint docker/healthy /usr/local/bin/
ENV STREAMHOUSE_DATA_DIR=/var/lib/streamhouse \
    STREAMHOUSE_LOG_FORMAT=json
USER 65532:65532
VOLUME /var/lib/streamhouse
EXPOSE 9092 9464
# Drains for at most shutdown_timeout (14 s): stop it with a grace period longer than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["/usr/local/bin/healthy"]
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["serve"]
