import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { claimRunFolder, findForeignFault } from '../../proxy/own-folder.ts';

const uid = process.getuid?.() ?? 0;

describe('a run folder that somebody else could have made is refused', () => {
  let top = '';
  const at = (run: string) => ({
    run,
    state: join(top, 'state'),
    caDir: join(run, 'ca'),
    caPublish: join(run, 'trust'),
    operatorSocket: join(run, 'operator.sock'),
    recordFile: undefined,
  });

  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'waybill-own-'));
  });
  afterEach(() => rmSync(top, { recursive: true, force: true }));

  test('one that is not there is made, and one of our own is taken again', () => {
    claimRunFolder(at(join(top, 'run')), uid);
    claimRunFolder(at(join(top, 'run')), uid);
  });

  test('one of another user', () => {
    mkdirSync(join(top, 'run'), { mode: 0o700 });
    expect(() => claimRunFolder(at(join(top, 'run')), uid + 1)).toThrow(/belongs to/);
  });

  test('one that others can write', () => {
    mkdirSync(join(top, 'run'));
    chmodSync(join(top, 'run'), 0o777);
    expect(() => claimRunFolder(at(join(top, 'run')), uid)).toThrow(/can be written/);
  });

  test('a link', () => {
    mkdirSync(join(top, 'elsewhere'), { mode: 0o700 });
    symlinkSync(join(top, 'elsewhere'), join(top, 'run'));
    expect(() => claimRunFolder(at(join(top, 'run')), uid)).toThrow(/is no folder/);
  });

  test('where no path lies in it, it is not looked at', () => {
    writeFileSync(join(top, 'run'), '');
    const paths = { ...at(join(top, 'run')), caDir: top, caPublish: top, operatorSocket: join(top, 'operator.sock') };
    expect(() => claimRunFolder(paths, uid)).not.toThrow();
  });

  test('without a home, also where only the record and the revocations lie in it', () => {
    const temporary = join(top, `waybill-${uid}`);
    mkdirSync(temporary);
    chmodSync(temporary, 0o777);
    const paths = { ...at(join(top, 'run')), state: join(temporary, 'state') };
    expect(() => claimRunFolder(paths, uid)).not.toThrow();
    for (const kept of ['recordFile', 'revocationsFile'])
      expect(() => claimRunFolder({ ...paths, [kept]: join(temporary, 'state', 'x') }, uid)).toThrow(/can be written/);
  });

  test('by commands as well; but root reaches the sidecar of the user whom it gave its folder of the system', () => {
    const run = join(top, 'run');
    mkdirSync(run);
    chmodSync(run, 0o777);
    expect(findForeignFault(at(run), 1000)).toMatch(/another user/);
    expect(findForeignFault(at(run), 0)).toBeUndefined();
  });
});
