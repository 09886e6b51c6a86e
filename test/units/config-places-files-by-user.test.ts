import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { defaultFolders, resolvePaths } from '../../config/paths.ts';

const load = (more: string) => loadSettings(`version: 1\nagent: { name: a }\n${more}`, 'w.yaml').settings;
const root = { uid: 0, env: { XDG_STATE_HOME: '/x', XDG_RUNTIME_DIR: '/y' } };

test('root uses the folders of the system', () => {
  expect(resolvePaths(load(''), root)).toEqual({
    state: '/var/lib/waybill',
    run: '/run/waybill',
    caDir: '/run/waybill/ca',
    caPublish: '/run/waybill/trust',
    operatorSocket: '/run/waybill/operator.sock',
    recordFile: '/var/lib/waybill/events.jsonl',
    revocationsFile: '/var/lib/waybill/revocations.json',
  });
});

test('others use the XDG folders', () => {
  const env = { XDG_STATE_HOME: '/home/u/.state', XDG_RUNTIME_DIR: '/run/user/7', HOME: '/home/u' };
  expect(defaultFolders({ uid: 7, env })).toEqual({ state: '/home/u/.state/waybill', run: '/run/user/7/waybill' });
});

test('without them: the home folder, and a private temporary one', () => {
  const env = { HOME: '/home/u', XDG_STATE_HOME: '', XDG_RUNTIME_DIR: 'relative', TMPDIR: '/scratch' };
  expect(defaultFolders({ uid: 7, env })).toEqual({ state: '/home/u/.local/state/waybill', run: '/scratch/waybill-7' });
  expect(defaultFolders({ uid: 7, env: {} })).toEqual({ state: '/tmp/waybill-7/state', run: '/tmp/waybill-7' });
});

test('what the configuration says wins', () => {
  const settings = load('ca: { dir: /a, publish: /b }\noperator: { socket: /c }\nrecord: { file: /d, stdout: true }');
  expect(resolvePaths(settings, root)).toMatchObject({
    caDir: '/a',
    caPublish: '/b',
    operatorSocket: '/c',
    recordFile: '/d',
    revocationsFile: '/revocations.json',
  });
});

test('standard output alone is the record where no file is named', () => {
  expect(resolvePaths(load('record: { stdout: true }'), root).recordFile).toBeUndefined();
});

test('beside a device that is the record no file is kept', () => {
  const settings = load('record: { file: /dev/stdout }');
  expect(resolvePaths(settings, root)).toMatchObject({
    recordFile: '/dev/stdout',
    revocationsFile: '/var/lib/waybill/revocations.json',
  });
});
