import { assert, constantFrom, array, property, tuple } from 'fast-check';
import { expect, test } from 'vitest';
import { isSameTarget } from '../../proxy/proofs/htu.ts';

const origin = 'https://bot.example.org';

test.for([
  ['as it is', 'https://bot.example.org/a/b', '/a/b'],
  ['scheme and host in other case', 'HTTPS://Bot.Example.ORG/a/b', '/a/b'],
  ['the default port', 'https://bot.example.org:443/a/b', '/a/b'],
  ['an empty port', 'https://bot.example.org:/a/b', '/a/b'],
  ['no path', 'https://bot.example.org', '/'],
  ['the root', 'https://bot.example.org/', '/'],
  ['escapes of unreserved characters', 'https://bot.example.org/%61/%62%7e%2D', '/a/b~-'],
  ['such escapes in the request', 'https://bot.example.org/a/b~', '/%61/b%7E'],
  ['hex digits in other case', 'https://bot.example.org/%c3%A9', '/%C3%a9'],
  ['dot segments', 'https://bot.example.org/x/../a/./b', '/a/b'],
  ['dot segments above the root', 'https://bot.example.org/../a/b', '/a/b'],
  ['a dot segment at the end', 'https://bot.example.org/a/b/x/..', '/a/b/'],
  ['escaped dot segments', 'https://bot.example.org/x/%2e%2E/a/b', '/a/b'],
  ['a query in the request', 'https://bot.example.org/a/b', '/a/b?c=d'],
  ['characters that clients leave alone', 'https://bot.example.org/a|b"c^{d}', '/a|b"c^{d}'],
] as const)('%s is the target', ([, htu, path]) => {
  expect(isSameTarget(htu, origin, path)).toBe(true);
});

test.for([
  ['another host', 'https://crm.example.org/a', '/a'],
  ['a longer host', 'https://bot.example.org.evil/a', '/a'],
  ['a trailing dot', 'https://bot.example.org./a', '/a'],
  ['another scheme', 'http://bot.example.org/a', '/a'],
  ['the other default port', 'https://bot.example.org:80/a', '/a'],
  ['a port with zeros', 'https://bot.example.org:0443/a', '/a'],
  ['another port', 'https://bot.example.org:8443/a', '/a'],
  ['a user', 'https://u@bot.example.org/a', '/a'],
  ['a user and a password', 'https://bot.example.org:443@evil/a', '/a'],
  ['another path', 'https://bot.example.org/b', '/a'],
  ['a path in other case', 'https://bot.example.org/A', '/a'],
  ['a slash more', 'https://bot.example.org/a/', '/a'],
  ['a slash doubled', 'https://bot.example.org//a', '/a'],
  ['an escaped slash', 'https://bot.example.org/a%2Fb', '/a/b'],
  ['escaped twice', 'https://bot.example.org/%2561', '/a'],
  ['escaped twice, and once in the request', 'https://bot.example.org/%2561', '/%61'],
  ['a plus for a space', 'https://bot.example.org/a+b', '/a%20b'],
  ['dot segments of the request', 'https://bot.example.org/b', '/a/../b'],
  ['a query', 'https://bot.example.org/a?b', '/a'],
  ['the same query', 'https://bot.example.org/a?b', '/a?b'],
  ['an empty query', 'https://bot.example.org/a?', '/a'],
  ['a fragment', 'https://bot.example.org/a#b', '/a'],
  ['the same fragment', 'https://bot.example.org/a#b', '/a#b'],
  ['no scheme', '//bot.example.org/a', '/a'],
  ['a path alone', '/a', '/a'],
  ['nothing', '', '/a'],
  ['backslashes', String.raw`https:\\bot.example.org\a`, '/a'],
  ['one slash', 'https:/bot.example.org/a', '/a'],
  ['three slashes', 'https:///bot.example.org/a', '/a'],
  ['a space in front', ' https://bot.example.org/a', '/a'],
  ['a line end', 'https://bot.example.org/a\n', '/a'],
  ['a tab inside', 'https://bot.exam\tple.org/a', '/a'],
  ['an escape in the host', 'https://%62ot.example.org/a', '/a'],
  ['a wide letter in the host', 'https://ｂot.example.org/a', '/a'],
  ['a letter that is not ASCII in the path', 'https://bot.example.org/é', '/%C3%A9'],
] as const)('%s is another target', ([, htu, path]) => {
  expect(isSameTarget(htu, origin, path)).toBe(false);
});

test('origins with a port and with an IPv6 address are told apart by port', () => {
  expect(isSameTarget('http://127.0.0.1:15006/a', 'http://127.0.0.1:15006', '/a')).toBe(true);
  expect(isSameTarget('http://127.0.0.1/a', 'http://127.0.0.1:15006', '/a')).toBe(false);
  expect(isSameTarget('http://127.0.0.1:80/a', 'http://127.0.0.1', '/a')).toBe(true);
  expect(isSameTarget('http://[::1]:15006/a', 'http://[::1]:15006', '/a')).toBe(true);
  expect(isSameTarget('http://[::1]/a', 'http://[::1]:15006', '/a')).toBe(false);
});

test('an escape of any character of any path is the same target exactly where RFC 3986 says so', () => {
  const segment = array(constantFrom(...'a b Z 0 9 - _ ~ ! $ & ( ) * + , = : @'.split(' ')), {
    minLength: 1,
    maxLength: 6,
  });
  assert(
    property(array(tuple(segment, constantFrom(0, 1, 2)), { minLength: 1, maxLength: 4 }), (segments) => {
      const path = segments.map(([chars]) => `/${chars.join('')}`).join('');
      const escaped = segments.map(
        ([chars, at]) => `/${chars.map((char, i) => (i === at ? hex(char) : char)).join('')}`,
      );
      const touched = segments.map(([chars, at]) => chars[at]).filter((char) => char !== undefined);
      const same = touched.every((char) => /[A-Za-z0-9._~-]/.test(char));
      expect(isSameTarget(origin + path, origin, path)).toBe(true);
      expect(isSameTarget(origin + escaped.join(''), origin, path)).toBe(same);
      expect(isSameTarget(origin + path, origin, escaped.join(''))).toBe(same);
    }),
  );
});

function hex(char: string): string {
  return `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
