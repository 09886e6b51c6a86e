import { z } from 'zod';
import { path } from './text.ts';

/** Where events are written. */
export const recordTable = z
  .strictObject({
    file: path.optional().meta({
      description:
        'File of events, one JSON object a line. A pipe or `/dev/stdout` is written to without blocking; one that is full refuses calls. Without it, `stdout: true` alone makes standard output the record. With `waybill run -- COMMAND` it must be a file that the command does not inherit.',
      examples: ['/var/lib/waybill/events.jsonl'],
      'x-default': '`<state>/events.jsonl` unless `stdout` is true',
    }),
    // A pipe can be full or closed, so beside a file it is a lossy copy and never what a call waits for (DESIGN 11).
    stdout: z
      .boolean()
      .prefault(false)
      .meta({
        description: 'Writes events to standard output: beside a file as a copy, alone as the record.',
        examples: [true],
      }),
  })
  .readonly()
  .prefault({})
  .meta({
    title: 'record',
    description: 'Where events are written. A call that cannot be recorded is refused.',
    examples: [{ file: '/var/lib/waybill/events.jsonl', stdout: true }],
  });
