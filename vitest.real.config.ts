import { defineConfig } from 'vitest/config';

/** Tests against real clients and services. One file at a time: they start heavy programs. */
export default defineConfig({
  test: {
    include: ['test/real/**/*.test.ts'],
    reporters: ['default', './test/tally.ts'],
    pool: 'forks',
    fileParallelism: false,
    passWithNoTests: true,
    testTimeout: 120_000,
    hookTimeout: 300_000,
  },
});
