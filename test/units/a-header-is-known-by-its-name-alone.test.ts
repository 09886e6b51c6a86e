import { expect, test } from 'vitest';
import { readHeaders } from '../../proxy/intercept/header-list.ts';
import { headerClassifier } from '../../proxy/intercept/header-names.ts';

test('a header of the agent passes, also under a name that every object of JavaScript has', () => {
  const lines = ['constructor', 'a', 'toString', 'b', 'valueOf', 'c', 'hasOwnProperty', 'd', 'x-own', 'e'];
  expect(readHeaders(lines, headerClassifier(new Set())).forward).toEqual(lines);
});
