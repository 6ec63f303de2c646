# Doorbuster in a small image. The build uses the Rust version that `rust-version` in Cargo.toml
# names. The image contains no compiler, and the program runs as an unprivileged user.
#
#   docker build -t doorbuster .
#   docker run --rm -p 8080:8080 -v doorbuster:/var/lib/doorbuster doorbuster
#
# Without brokers: docker build --build-arg FEATURES=otel -t doorbuster .
# With the commit in --version: docker build --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .

FROM rust:1.95-slim-trixie AS build
ARG FEATURES=amqp,nats,otel,s3
ARG COMMIT=
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    BUILD_COMMIT="$COMMIT" cargo build --locked --profile dist -p doorbuster --no-default-features --features "$FEATURES" \
 && install -D target/dist/doorbuster /out/doorbuster

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/doorbuster --shell /usr/sbin/nologin doorbuster \
 && install -d -o doorbuster -g doorbuster -m 0700 /var/lib/doorbuster
COPY --from=build /out/doorbuster /usr/local/bin/doorbuster
USER 10001:10001
ENV DOORBUSTER_LISTEN=0.0.0.0:8080 \
    DOORBUSTER_DATA_DIR=/var/lib/doorbuster \
    DOORBUSTER_LOG__FORMAT=json
EXPOSE 8080
VOLUME /var/lib/doorbuster
# After SIGTERM the server settles the accepted tickets and exits within 10 seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/doorbuster"]
CMD ["serve"]
