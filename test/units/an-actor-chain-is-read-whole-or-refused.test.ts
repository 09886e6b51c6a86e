import { expect, test } from 'vitest';
import { isOneOf, isSameAct, mayAct, readActors } from '../../proxy/trust/act-claim.ts';

interface Act {
  sub: string;
  act?: Act;
}

function chain(length: number): Act {
  let act: Act = { sub: 'hop-1' };
  for (let hop = 2; hop <= length; hop++) act = { sub: `hop-${hop}`, act };
  return act;
}

test('ten actors pass and eleven do not', () => {
  expect(readActors(chain(10)).map(({ sub }) => sub)).toHaveLength(10);
  expect(readActors(chain(2))).toEqual([{ sub: 'hop-2' }, { sub: 'hop-1' }]);
  expect(() => readActors(chain(11))).toThrow('actor');
});

test('more than 8 KiB is refused', () => {
  expect(() => readActors({ sub: 'a', note: 'x'.repeat(8 * 1024) })).toThrow('actor');
  expect(readActors({ sub: 'a', note: 'x'.repeat(8000) })).toHaveLength(1);
});

test('absent and null end a chain, at the top and inside', () => {
  for (const none of [undefined, null]) expect(readActors(none)).toEqual([]);
  expect(readActors({ sub: 'a', act: null })).toEqual([{ sub: 'a' }]);
});

test.for([
  ['a text', 'spiffe://example.org/a'],
  ['a list', [{ sub: 'a' }]],
  ['a number', 1],
  ['an empty object', {}],
  ['an empty hop inside', { sub: 'a', act: {} }],
  ['an empty name', { sub: '' }],
  ['a name that is no text', { sub: 1 }],
  ['a namespace that is no text', { sub: 'a', iss: 1 }],
  ['a text inside', { sub: 'a', act: 'b' }],
  ['what is nearly a SPIFFE ID', { sub: 'spiffe://example.org/team/../a' }],
  ['what is nearly a SPIFFE ID, inside', { sub: 'a', act: { sub: 'spiffe://example.org//a' } }],
] as const)('%s is no actor', ([, act]) => {
  expect(() => readActors(act)).toThrow('actor');
});

test('a chain is the same only whole', () => {
  const inbound = { sub: 'planner', iss: 'https://sso.example.org', act: { sub: 'front' } };
  expect(isSameAct({ act: { sub: 'front' }, iss: 'https://sso.example.org', sub: 'planner' }, inbound)).toBe(true);
  expect(isSameAct({ sub: 'planner', iss: 'https://sso.example.org' }, inbound)).toBe(false);
  expect(isSameAct({ ...inbound, extra: 1 }, inbound)).toBe(false);
  expect(isSameAct(undefined, inbound)).toBe(false);
  expect([isSameAct(undefined, undefined), isSameAct(null, undefined)]).toEqual([true, true]);
});

test('a name of another namespace is another actor', () => {
  const names = [{ sub: 'bot', iss: 'https://a.example.org' }, { sub: 'spiffe://example.org/bot' }];
  expect(isOneOf({ sub: 'bot', iss: 'https://a.example.org' }, names)).toBe(true);
  expect(isOneOf({ sub: 'bot' }, names)).toBe(true);
  expect(isOneOf({ sub: 'spiffe://example.org/bot', iss: 'https://a.example.org' }, names)).toBe(true);
  expect(isOneOf({ sub: 'bot', iss: 'https://b.example.org' }, names)).toBe(false);
  expect(isOneOf({ sub: 'bot', iss: 'https://a.example.org/' }, names)).toBe(false);
  expect(isOneOf({ sub: 'bo' }, names)).toBe(false);
});

test('may_act names one actor or several, and its issuer counts where both sides state one', () => {
  const us = [{ sub: 'bot', iss: 'https://a.example.org' }];
  expect(mayAct(undefined, us)).toBe(true);
  expect(mayAct({ sub: 'bot' }, us)).toBe(true);
  expect(mayAct({ sub: 'bot', iss: 'https://a.example.org' }, us)).toBe(true);
  expect(mayAct([{ sub: 'x' }, { sub: 'bot' }], us)).toBe(true);
  expect(mayAct({ sub: 'bot', iss: 'https://b.example.org' }, us)).toBe(false);
  for (const no of [{ sub: 'x' }, [], {}, 'bot', 7, [null]]) expect(mayAct(no, us)).toBe(false);
  expect(mayAct({ sub: 'bot' }, [])).toBe(false);
});
