/**
 * For tests whose bound is a time. A machine that others use too misses one now and then; a sidecar that is slow misses it three times.
 * The tally says which tests needed more than one try.
 */
export const tries = { retry: 2 } as const;
