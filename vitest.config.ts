import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/{promises,way,units,vectors,repo}/**/*.test.ts'],
    reporters: ['default', './test/tally.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
