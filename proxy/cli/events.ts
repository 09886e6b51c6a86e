import { statSync } from 'node:fs';
import type { Seal } from '../record/seals.ts';
import { CompressedRecord, verifyEvents, type RecordReport } from '../record/verify-events.ts';
import { findForeignFault } from '../own-folder.ts';
import { readBundleFile } from '../spiffe/file-bundle.ts';
import type { X509Bundle } from '../spiffe/x509-path.ts';
import { CommandFailure, exitCodes, jsonOption, parseArguments, type Command, type Invocation } from './command.ts';
import { configOption, findConfigFile, findPlaces } from './config-file.ts';

/** `waybill events`: whether the record is what was written. */
export const events: Command = {
  usage: `Usage: waybill events verify [FILE...] [--sequence N] [--bundle FILE [--spiffe-id ID]] [--config FILE] [--json]

Checks the record: every boot's lines are there from 1 on, each carries the hash of the one before, each checkpoint (one a minute and one at
the end) is about the line before it and signed, nothing stands behind the signed end of a boot, and each boot stands behind the line that it
was written behind (its member follows; what the first boot was written behind, and a boot before one that began a new file, is not known).
Rotated files are given in the order they were written, unpacked. Without FILE it is the record of the configuration (default: ./waybill.yaml).
A line that was being written when a process was killed is torn and no error. Lines of the process's log, which stand between the events where
standard output and standard error are collected together (kubectl logs), are passed over and counted. Calls that were admitted and have no
end are counted: their outcome is unknown. Two things no file can show by itself:

  --sequence N      that its end was cut off, lines or whole boots: N is the metric waybill_event_sequence of the newest boot
  --bundle FILE     that all of it was made anew with another key: the trust bundle (PEM or SPIFFE JSON) whose SVIDs alone may have
                    signed; --spiffe-id ID says which of them

Exit code 1 if a chain is broken, or if there is no line to check.
`,
  async run(invocation) {
    const [action, ...args] = invocation.args;
    if (action !== 'verify') throw new CommandFailure(exitCodes.usage, 'say verify; see --help');
    const { values, positionals } = parseArguments({
      args,
      options: {
        ...configOption,
        ...jsonOption,
        sequence: { type: 'string' },
        bundle: { type: 'string' },
        'spiffe-id': { type: 'string' },
      },
      allowPositionals: true,
    });
    // The configuration is asked only where no file is named: a record may lie far from the machine that wrote it.
    const files = positionals.length > 0 ? positionals : [findRecord(values.config, invocation)];
    const known = await readKnown(values);
    const report = await verifyEvents(files, known).catch((error: unknown) => {
      throw unreadable(error, files);
    });
    if (values.json) invocation.print(JSON.stringify(describe(report)));
    else show(report, invocation);
    return report.faultCount === 0 ? exitCodes.ok : exitCodes.no;
  },
};

/** What is known from elsewhere. */
async function readKnown(values: {
  readonly sequence?: string | undefined;
  readonly bundle?: string | undefined;
  readonly 'spiffe-id'?: string | undefined;
}) {
  const { sequence, bundle, 'spiffe-id': spiffeId } = values;
  // A witness that was misread would call any record whole.
  if (sequence !== undefined && !/^\d{1,15}$/.test(sequence))
    throw new CommandFailure(exitCodes.usage, '--sequence is no number, such as that of waybill_event_sequence');
  if (spiffeId !== undefined && bundle === undefined)
    throw new CommandFailure(
      exitCodes.usage,
      '--spiffe-id needs --bundle: without, any certificate can claim any name',
    );
  return {
    sequence: sequence === undefined ? undefined : Number(sequence),
    bundle: bundle === undefined ? undefined : await readBundle(bundle),
    spiffeId,
  };
}

async function readBundle(file: string): Promise<X509Bundle> {
  try {
    return { authorities: (await readBundleFile(file)).authorities, revocations: [] };
  } catch {
    throw new CommandFailure(exitCodes.usage, `--bundle: ${file} cannot be read, or is no trust bundle`);
  }
}

/** The record of the configuration; there may be none to read where standard output alone is the record. */
function findRecord(config: string | undefined, { surroundings }: Invocation): string {
  const { run, state, recordFile } = findPlaces(findConfigFile(config, surroundings), surroundings);
  if (recordFile === undefined) {
    throw new CommandFailure(exitCodes.usage, 'the record of this configuration is standard output: name a file of it');
  }
  // Under the temporary folder somebody else could have left a record that is whole, and none of ours.
  const fault = findForeignFault({ run, state, recordFile }, surroundings.uid);
  if (fault !== undefined) throw new CommandFailure(exitCodes.unavailable, fault);
  // Whoever reads a pipe takes its lines from the reader that they are for.
  if (isDevice(recordFile))
    throw new CommandFailure(exitCodes.usage, `${recordFile} is no file: name one with what was read of the record`);
  return recordFile;
}

function isDevice(path: string): boolean {
  try {
    return !statSync(path).isFile();
  } catch {
    // Told when it is read.
    return false;
  }
}

/** What the system says is about a file, which it names where it could not open it (not of a folder, say); anything else is a fault. */
function unreadable(error: unknown, files: readonly string[]): unknown {
  if (error instanceof CompressedRecord)
    return new CommandFailure(exitCodes.usage, `${error.message} is compressed; unpack it first, such as with gunzip`);
  if (!(error instanceof Error && 'code' in error && 'syscall' in error)) return error;
  const what = 'path' in error ? String(error.path) : files.join(', ');
  return new CommandFailure(exitCodes.usage, `${what} cannot be read (${String(error.code)})`);
}

/** The report as `--json` prints it. Names are those of the events themselves. */
function describe(report: RecordReport): object {
  return {
    ok: report.faultCount === 0,
    lines: report.lines,
    boots: report.boots.map(({ boot, lines, lastSequence, head, seal }) => ({
      boot,
      lines,
      last_seq: lastSequence,
      head,
      signed_seq: seal.sequence,
      signed_by: seal.signer,
      closed: seal.isClosed,
    })),
    errors: report.faults,
    error_count: report.faultCount,
    torn: report.torn,
    passed_over: report.passedOver,
    outcome_unknown: report.outcomeUnknown,
  };
}

/** Faults first, each as `file:line: what`, which terminals and editors turn into a link; the verdict last. */
function show(report: RecordReport, { print }: Invocation): void {
  for (const { file, line, message } of report.faults) print(`${file}:${line}: ${message}`);
  const hidden = report.faultCount - report.faults.length;
  if (hidden > 0) print(`and ${hidden} more`);
  for (const { file, line } of report.torn) print(`${file}:${line}: torn: a write broke off here (no error)`);
  const { lines, boots, outcomeUnknown, passedOver } = report;
  const verdict = report.faultCount === 0 ? 'whole' : `BROKEN in ${report.faultCount} places`;
  print(`${plural(lines, 'line')}, ${plural(boots.length, 'boot')}: ${verdict}`);
  // The last ones: a sidecar that restarts often would fill the screen.
  for (const { boot, lastSequence, head, seal } of boots.slice(-5)) {
    print(`  boot ${boot}: last sequence ${lastSequence}, head ${head}`);
    print(`    ${describeSeal(seal, lastSequence)}`);
  }
  if (passedOver > 0) print(`${plural(passedOver, 'line')} of the process's log passed over`);
  if (outcomeUnknown > 0) print(`${plural(outcomeUnknown, 'call')} admitted without an end: outcome unknown`);
}

function describeSeal({ sequence, signer, isClosed }: Seal, last: number): string {
  const end = isClosed ? 'ended in order' : 'no end: it runs, was killed, or its end was cut off';
  if (signer === undefined) return `not signed; ${end}`;
  const by = signer === 'key' ? 'the key that its boot event names' : signer;
  return `signed up to ${sequence}${sequence === last ? '' : `, ${plural(last - sequence, 'line')} not yet`}, by ${by}; ${end}`;
}

function plural(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
