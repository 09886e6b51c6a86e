import { testRows } from './config-explanation.ts';
import { around, withoutIdentity, withTool } from './config-way-in.ts';

testRows([
  [
    'later ledger',
    `${around}replay: { ledger: ‸valkey }`,
    /^replay\.ledger: `valkey` is not available in this version/,
  ],
  [
    'later ledger by address',
    `${around}replay: { ledger: ‸"valkey://u:hunter2@h:6379" }`,
    /^replay\.ledger: `valkey` is not available in this version of Waybill$/,
  ],
  [
    'later answer to a replay',
    `${around}replay: { on_replay: ‸end-task }`,
    /`end-task` is not available in this version/,
  ],
  ['unknown ledger', `${around}replay: { ledger: ‸redis }`, /^replay\.ledger: must be `memory`$/],
  ['ledger for nothing', `${around}replay: { max_entries: ‸0 }`, /must be at least 1/],
  ['long window', `${around}replay: { window: ‸11m }`, /must be between 1s and 10m/],
  ['chain without token', withTool(', chain: ‸full', ''), /^tools\.t\.chain: needs a `token`/],
  ['delegation without token', withTool(', delegate: ‸{ hops: 1 }', ''), /^tools\.t\.delegate: needs a `token`/],
  [
    'chain of a nobody',
    withTool(', chain: ‸full', undefined, withoutIdentity),
    /chain: a link of the chain needs a workload identity/,
  ],
  [
    'delegation of a nobody',
    withTool(', delegate: ‸{}', undefined, withoutIdentity),
    /a link of the chain needs a workload identity/,
  ],
  [
    'delegation that is not sent',
    withTool(', chain: none, delegate: ‸{ hops: 1 }'),
    /has no meaning with `chain: none`/,
  ],
  [
    'delegation without the tool itself',
    withTool(', delegate: { resources: ‸["https://x"] }'),
    /must list `token\.resource` of the tool too/,
  ],
  [
    'delegation graver than the tool',
    withTool(', risk: write, delegate: { risk: ‸payment }'),
    /is graver than `risk` of the tool/,
  ],
  ['too many hops', withTool(', delegate: { hops: ‸6 }'), /must be at most 5/],
]);
