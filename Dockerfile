# Vestibule's image: the installed package and Python, run by a user without rights.
#
#     docker build -t vestibule .
#     docker run --read-only --tmpfs /tmp --tmpfs /run/vestibule -p 8443:8443 \
#         -v ./vestibule.yaml:/etc/vestibule/vestibule.yaml:ro vestibule
#     docker run --network host --no-healthcheck vestibule demo
#
# The base image is an argument: anything with Python 3.11 or newer, its venv module and
# ca-certificates will do, such as a Debian image of your own. Behind a package mirror pass pip's
# options too, for example --build-arg PIP_INDEX_URL=...; they stay in the first stage.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# 1: with the hot path compiled (see setup.py), which takes a compiler here. 0: as it is.
ARG VESTIBULE_COMPILE=1
RUN if [ "$VESTIBULE_COMPILE" = 1 ]; then \
        apt-get -qq update \
        && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
            gcc libc6-dev $(python3 -c 'import os, sysconfig; print("" if os.path.exists(sysconfig.get_path("include") + "/Python.h") else "python3-dev")') >/dev/null; \
    fi
COPY pyproject.toml setup.py README.md LICENSE ./
COPY proxy ./proxy
# By way of the wheel, which is what everybody else installs: what it lacks, the image lacks too.
# pip and setuptools have no work in the final image. The compiler wants the types of what is called.
RUN python3 -m venv /opt/vestibule && python3 -m venv /opt/build \
    && VESTIBULE_COMPILE=0 /opt/build/bin/pip install 'setuptools>=68' wheel mypy types-PyYAML . \
    && /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /opt/vestibule/bin/pip install /wheels/vestibule-*.whl \
    && /opt/vestibule/bin/pip freeze >/opt/vestibule/packages.txt \
    && /opt/vestibule/bin/pip uninstall --yes --quiet setuptools pip

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Vestibule" \
      org.opencontainers.image.description="A TLS-terminating reverse proxy for when handshakes are what hurts" \
      org.opencontainers.image.licenses="Apache-2.0"
# A tmpfs on /run/vestibule takes the directory's mode but belongs to root: hence that of /tmp. The
# admin socket in it has a mode of its own.
RUN groupadd --gid 10001 vestibule \
    && useradd --uid 10001 --gid vestibule --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin vestibule \
    && install --directory --mode 0755 /etc/vestibule \
    && install --directory --mode 1777 /run/vestibule
# A read-only root file system cannot keep what Python compiles at start, so it is done here;
# python:*-slim comes without. The parts left out hold code that is not meant to compile.
RUN python3 -m compileall -q -x '/(tests?|lib2to3|idlelib|site-packages|dist-packages)/' \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/vestibule /opt/vestibule
ENV PATH=/opt/vestibule/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
EXPOSE 8443 9180
# Open connections may go on for timeouts.drain_s (30 s): give `docker stop` that time.
STOPSIGNAL SIGTERM
# Asks where `admin.listen` is by default; override with --health-cmd where yours differs.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python3", "-IS", "-c", "import sys; from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', 9180, timeout=2); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["vestibule"]
CMD ["run", "-c", "/etc/vestibule/vestibule.yaml"]
