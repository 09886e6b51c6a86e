# The sidecar: Node.js, one bundle and its compile cache. No sources, no packages, no package manager, no demo.
FROM node:26-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# No package needs its install script, so none runs.
RUN npm ci --ignore-scripts
COPY config config
COPY proxy proxy
COPY deploy/image deploy/image
RUN node deploy/image/bundle.ts /opt/waybill && install -m 755 deploy/image/waybill /opt/waybill/waybill && \
    install -d -o 1337 -g 1337 /opt/waybill/cache
# The cache is good for the user that made it.
USER 1337
RUN node deploy/image/warm-up.ts /opt/waybill && chmod -R a+rX /opt/waybill/cache

FROM node:26-slim
LABEL org.opencontainers.image.title="waybill" \
      org.opencontainers.image.description="Sidecar that exchanges an agent's identity for a token of one tool, one task and a few minutes" \
      org.opencontainers.image.licenses="Apache-2.0"
# What can install or fetch a program has no place beside credentials.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack \
      /usr/local/bin/yarn /usr/local/bin/yarnpkg /opt/yarn-* && \
    ln -s /opt/waybill/waybill /usr/local/bin/waybill && \
    install -d -o 1337 -g 1337 -m 700 /var/lib/waybill /run/waybill && \
    install -d -o 1337 -g 1337 /run/waybill-trust
COPY --from=build --chown=0:0 /opt/waybill /opt/waybill
COPY LICENSE /opt/waybill/LICENSE
# What is kept goes to /var/lib/waybill and /run/waybill, whoever runs it; all else may be read-only.
ENV NODE_COMPILE_CACHE=/opt/waybill/cache XDG_STATE_HOME=/var/lib XDG_RUNTIME_DIR=/run
# glibc gives back what only the start needed: 4 MB less when idle.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
USER 1337:1337
# The configuration is /etc/waybill/waybill.yaml.
WORKDIR /etc/waybill
STOPSIGNAL SIGTERM
# Without a configuration in the folder above it asks the one sidecar that runs, as with `run --config /elsewhere.yaml`.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["waybill", "health"]
ENTRYPOINT ["waybill"]
CMD ["run"]
