import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { tellStates } from '../../proxy/once-a-minute.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function openTold() {
  const told: boolean[] = [];
  const state = tellStates({ monotonic: () => performance.now() }, (isWell) => told.push(isWell));
  return { told, state };
}

test('trouble and its end are told at once', () => {
  const { told, state } = openTold();
  state.set(false);
  expect(told).toEqual([false]);
  state.set(true);
  expect(told).toEqual([false, true]);
});

test('one that flickers is told once a minute, and as it is in the end', () => {
  const { told, state } = openTold();
  for (let at = 0; at < 100; at += 1) {
    state.set(false);
    state.set(true);
  }
  state.set(false);
  expect(told).toEqual([false, true]);
  vi.advanceTimersByTime(59_000);
  expect(told).toEqual([false, true]);
  vi.advanceTimersByTime(1001);
  expect(told).toEqual([false, true, false]);
  state.set(true);
  expect(told).toEqual([false, true, false, true]);
});

test('trouble that is over when it could be told is not', () => {
  const { told, state } = openTold();
  state.set(false);
  state.set(true);
  state.set(false);
  state.set(true);
  vi.advanceTimersByTime(120_000);
  expect(told).toEqual([false, true]);
});

test('nothing is told of one that was closed', () => {
  const { told, state } = openTold();
  state.set(false);
  state.set(true);
  state.set(false);
  state.close();
  vi.advanceTimersByTime(120_000);
  expect(told).toEqual([false, true]);
});
