import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { HandleBook } from '../../proxy/tasks/handle.ts';
import { PeerBinding } from '../../proxy/tasks/peer-binding.ts';
import { Task } from '../../proxy/tasks/task.ts';

const task = new Task({
  txn: 't',
  subject: { iss: '', sub: 'alice', kind: 'user' },
  grant: undefined,
  purpose: '',
  tools: new Set(),
  openedAtMs: 0,
  expiresAtMs: Infinity,
  parent: undefined,
  standing: false,
  caller: '',
  chain: undefined,
  txnToken: undefined,
  issuedAtMs: undefined,
  peer: new PeerBinding({}),
  closedTools: new Set(),
});

test('a key or token of the agent’s own goes on, though its random letters spell the mark of a handle; a handle does not', () => {
  const book = new HandleBook(randomBytes);
  const handle = book.mint(task, undefined);
  const middle = 'A'.repeat(60);
  const own = ['wbh_', 'd2JoX', 'diaF', '3Ymhf'].flatMap((mark) => [
    `Bearer eyJhbGciOiJFUzI1NiJ9.${middle}${mark}${middle}.${middle}`,
    `sk-${middle}${mark}${middle}`,
  ]);
  expect(own.filter((value) => book.carries(value))).toEqual([]);
  const base64 = Buffer.from(`x${handle}`).toString('base64');
  const carried = [
    handle,
    `Bearer ${handle}`,
    `token=${handle}`,
    `sk-${middle}${handle}`,
    `key ${base64}`,
    encodeURIComponent(`a=${handle}`).replace('wbh_', '%77bh_'),
    // Of another process, by itself.
    `Bearer wbh_${'B'.repeat(51)}`,
    `a=wbh_${'B'.repeat(51)}`,
    'x wbh_',
  ];
  expect(carried.filter((value) => !book.carries(value))).toEqual([]);
});
