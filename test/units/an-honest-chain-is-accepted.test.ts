import { expect, test } from 'vitest';
import { checkChain, formatChain, parseChain, type ChainFacts } from '../../proxy/delegation/chain.ts';
import { digestOf } from '../../proxy/delegation/link.ts';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { limits, openReceiver } from '../fakes/chain-receiver.ts';
import { chainAlong, openHop, root, tool } from '../fakes/delegation-hops.ts';
import { bundleOf } from '../fakes/trust-bundle.ts';

const { nowMs, hops, honest, authoritiesOf, expecting, outcome, three } = await openReceiver();
const [planner, worker, clerk] = three;
const [first, second, third] = honest;

test('an honest chain of one to five hops is accepted, and says where the task came along', () => {
  for (let length = 1; length <= hops.length; length++) {
    const path = hops.slice(0, length);
    const value = formatChain(chainAlong(path, {}, nowMs));
    const facts = checkChain(value, expecting(path.at(-1)!));
    expect(facts).toEqual<ChainFacts>({
      path: path.map(({ identity }) => identity.spiffeId),
      root,
      begunAtMs: Math.floor(nowMs / 1000) * 1000,
      txns: path.map(() => 'txn-1'),
      purpose: 'reconcile invoices',
      may: { resources: [tool], risk: 'write', hops: 0 },
      expiresAtMs: (Math.floor(nowMs / 1000) + 301 - length) * 1000,
      value,
      digest: digestOf(value),
    });
  }
});

test('a chain is accepted from the peer of a connection in place of a key, and from both', () => {
  const value = formatChain(honest);
  const { spiffeId } = clerk.identity;
  expect(outcome(value, expecting(clerk, { presenter: { spiffeId } }))).toBe('ok');
  expect(outcome(value, expecting(clerk, { presenter: { jkt: clerk.jkt, spiffeId } }))).toBe('ok');
  for (const presenter of [
    {},
    { jkt: worker.jkt },
    { spiffeId: worker.identity.spiffeId },
    { jkt: worker.jkt, spiffeId },
    { jkt: clerk.jkt, spiffeId: worker.identity.spiffeId },
  ]) {
    expect(outcome(value, expecting(clerk, { presenter })), JSON.stringify(presenter)).toBe('chain_off_path');
  }
});

test('a chain of SVIDs of several trust domains is accepted where all are trusted', async () => {
  const partner = await openAuthority('partner.org');
  const hop = await openHop(partner, 'worker');
  const value = formatChain(chainAlong([planner, hop, clerk], {}, nowMs));
  const anchors = bundleOf(partner.bundle().x509Der);
  const both = (name: string) => (name === 'partner.org' ? anchors : authoritiesOf(name));
  expect(outcome(value, expecting(clerk, { authoritiesOf: both }))).toBe('ok');
  expect(outcome(value)).toBe('chain_broken');
  expect(
    outcome(value, expecting(clerk, { authoritiesOf: (name) => authoritiesOf(name) ?? authoritiesOf('example.org') })),
  ).toBe('chain_broken');
});

test('a chain is one RFC 9651 list of tokens, and nothing else is read', () => {
  const value = formatChain(honest);
  expect(parseChain(value, limits)).toEqual(honest);
  // token = ( ALPHA / "*" ) *( tchar / ":" / "/" ), RFC 9651 3.3.4
  for (const link of honest) expect(link).toMatch(/^[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*$/);
  const quoted = honest.map((link) => `"${link}"`).join(', ');
  const flipped = third.endsWith('A') ? 'B' : 'A';
  for (const spelling of [
    '',
    ' ',
    ',',
    `${value},`,
    `${value}, `,
    `, ${value}`,
    ` ${value}`,
    `${value} `,
    `${value}\n`,
    `\t${value}`,
    honest.join(','),
    honest.join(',  '),
    honest.join(' , '),
    honest.join(',\t'),
    honest.join('; '),
    honest.join(' '),
    quoted,
    `${value};a`,
    `${value};a=1`,
    `(${value})`,
    `?1, ${value}`,
    `${first}, , ${second}, ${third}`,
    `${value}=`,
    `${value}.x`,
    `${first}, ${second}, :${third}:`,
    `${first}, ${second}, ${third.replace('.', '..')}`,
    `${first}, ${second}, ${third.toUpperCase()}`,
    `${first}, ${second}, ${third.replace('ey', 'Ey')}`,
    `${first}, ${second}, ${third.replace('.', '%2e')}`,
    `${first}, ${second}, ${third}é`,
    encodeURIComponent(value),
    JSON.stringify(honest),
  ]) {
    expect(() => parseChain(spelling, limits), spelling.slice(-30)).toThrow('chain_broken');
    expect(outcome(spelling), spelling.slice(-30)).toBe('chain_broken');
  }
  // Of good form, and other bytes.
  for (const end of ['', flipped]) {
    expect(outcome(`${first}, ${second}, ${third.slice(0, -1)}${end}`)).toBe('chain_broken');
  }
});
