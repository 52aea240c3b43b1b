# The sidecar's image: no compiler, no package manager's leftovers, user 1337, content with a read-only root.
#
#   make image                          prepares wheels outside when it can, then builds
#   docker build -t loom-sidecar .      compiles inside; needs a network
#
# BASE is any Debian-like system with Python >= 3.11. Both stages use the same one, so that the environment which the
# first makes is valid in the second.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS builder
WORKDIR /src
COPY . .
RUN sh scripts/install_in_image /opt/sidecar

FROM ${BASE}
COPY --from=builder /opt/sidecar /opt/sidecar
# The compiled twins must load in this very stage: falling back to Python in production would be slow and silent.
RUN /opt/sidecar/bin/python /opt/sidecar/check_compiled.py --require \
 && mkdir -p /etc/sidecar /run/sidecar \
 && chown 1337:1337 /run/sidecar
ENV PATH=/opt/sidecar/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1337:1337
# 15001 outbound, 15006 inbound (TCP, and UDP for HTTP/3), 15020 metrics, 15021 health; 15000 (admin) is loopback only.
EXPOSE 15001 15006 15006/udp 15020 15021
ENTRYPOINT ["sidecar"]
CMD ["run", "-c", "/etc/sidecar/sidecar.yaml"]
