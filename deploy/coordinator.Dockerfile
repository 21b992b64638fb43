# The coordinator in a container.
#
#   docker build -f deploy/coordinator.Dockerfile -t starling-coordinator .
#   docker run -p 7700:7700 -v starling:/data -e STARLING_ADVERTISE=grid.example.org:7700 starling-coordinator
#   docker exec CONTAINER starling-coordinator token issue NAME
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p coordinator --bin starling-coordinator

FROM debian:bookworm-slim
RUN useradd --uid 7700 --home-dir /data starling && install -d -o starling -m 700 /data
COPY --from=build /source/target/release/starling-coordinator /usr/local/bin/
USER starling
ENV STARLING_COORDINATOR_DATA=/data/project
VOLUME /data
EXPOSE 7700
STOPSIGNAL SIGTERM
ENTRYPOINT ["starling-coordinator"]
CMD ["run"]
