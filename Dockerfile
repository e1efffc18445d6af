# The worker outside Lambda (docs/worker.md): docker build -t image-analyzer-worker .
# Indexes of all platforms; Dependabot moves tag and digest together.
FROM node:22.23.2-bookworm-slim@sha256:48e4b67d85f87bd551df43704e24d252f56cc5f8e9718841aace50f19948f0f9 AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY packages/client/package.json packages/client/
COPY packages/embedded-aws/package.json packages/embedded-aws/
COPY packages/image-guard/package.json packages/image-guard/
COPY packages/vision/package.json packages/vision/
# esbuild and its like bring their binaries as packages, and no script is needed.
RUN npm ci --ignore-scripts
COPY . .
RUN node --disable-warning=ExperimentalWarning run.js build/process.ts

# Node alone, without npm, on the Debian that it was built on.
FROM debian:bookworm-20260918-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /app/dist/worker /worker
# As infrastructure/modules has it for the function, and run.js for npm run worker.
ENV NODE_ENV=production MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=1000000
# It writes nothing: --read-only will do.
USER 65532:65532
ENTRYPOINT ["node", "--max-semi-space-size=4", "/worker/index.mjs"]
