import { CommandFailure, exitCodes, type Command } from '../../proxy/cli/command.ts';

/** Stands in the image for `waybill demo`, which would bring a token service and keys of its own into a production image. */
export const demo: Command = {
  usage: `Usage: waybill demo

Not in this image: the demo brings a token service and a Workload API of its own. It is in the npm package and in a clone.
`,
  run: () =>
    Promise.reject(
      new CommandFailure(exitCodes.usage, 'the demo is not in this image; it is in the npm package and in a clone'),
    ),
};
