/**
 * For tests whose bound is a time. A machine that others use too misses one now and then; a sidecar that is slow misses it three times.
 * The tally says which tests needed more than one try. Not for tests that cannot be run twice, nor for those of revocation and custody:
 * what fails there once in three times is a fault.
 */
export const tries = { retry: 2 } as const;
