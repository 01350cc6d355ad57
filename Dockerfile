# One image: supervisord and the orchestrator. What runs in it is in supervisord.conf, how it is run in docker-compose.yml.
#
#   docker build -t cronium .
#   docker build -t cronium --build-arg BASE_IMAGE=my-python:3.12 .
#
# Any Debian with Python 3.11 or newer, bash and util-linux will do as a base. The classic builder and BuildKit build it.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/cronium
# The packages in a layer of their own: a change to the source does not fetch them again.
COPY requirements.lock docker/supervisor.lock /src/
RUN pip --python /opt/cronium/bin/python install --quiet --require-hashes \
      -r /src/requirements.lock -r /src/supervisor.lock
COPY . /src/
# Built without isolation, by the pinned tools of the lock, which the image then has no use for.
RUN cd /src \
 && /opt/cronium/bin/python -c "import hatchling.build as b, os; os.makedirs('/dist'); b.build_wheel('/dist')" \
 && pip --python /opt/cronium/bin/python install --quiet --no-deps --no-index /dist/*.whl \
 && pip --python /opt/cronium/bin/python uninstall --quiet --yes \
      hatchling packaging pathspec pluggy tomlkit trove-classifiers \
 && /opt/cronium/bin/cronium --version


FROM ${BASE_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cronium" \
      org.opencontainers.image.description="Self-hosted job and workflow orchestrator" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Volumes that are new take the owner and the mode of these directories. The number is fixed, so that it can be relied on.
RUN groupadd --gid 10001 cronium \
 && useradd --uid 10001 --gid cronium --no-create-home --home-dir /tmp --shell /usr/sbin/nologin cronium \
 && install -d -o cronium -g cronium -m 0700 /var/lib/cronium /run/cronium
COPY --from=build /opt/cronium /opt/cronium
COPY docker/bin/ /usr/local/bin/
COPY supervisord.conf /etc/supervisord.conf

# In a container 0.0.0.0 is what can be published at all; docker-compose.yml publishes it on the host's loopback only.
# Scripts run in containers of their own: CRONIUM_PROCESS_JOBS=4 lets them run beside the orchestrator, with its rights.
# The sockets lie on a volume of their own, not on a tmpfs: the daemon mounts their directory into jobs.
ENV CRONIUM_HOST=0.0.0.0 \
    CRONIUM_DATA_DIR=/var/lib/cronium \
    CRONIUM_PROCESS_JOBS=0 \
    XDG_RUNTIME_DIR=/run/cronium \
    XDG_CONFIG_HOME=/etc \
    XDG_STATE_HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
VOLUME ["/var/lib/cronium", "/run/cronium"]
EXPOSE 8080
# supervisord ends the orchestrator on TERM, in order.
STOPSIGNAL SIGTERM
# Healthy: takes jobs and runs them (/readyz). A container that is not is restarted by nobody here; who does restart such
# ones should ask /healthz, which stays well while a database is away.
HEALTHCHECK --interval=15s --timeout=8s --start-period=60s --retries=3 CMD ["healthy"]
ENTRYPOINT ["as-cronium"]
CMD ["supervise"]
