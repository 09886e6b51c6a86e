import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/** What went wrong, on one line, and the line of the test where it did. */
const inOneLine = (error: unknown): string => {
  const { message, stacks } = (error ?? {}) as { message?: unknown; stacks?: readonly { line: number }[] };
  const text = String(message ?? error).replaceAll(/\s+/g, ' ');
  return `${text.slice(0, 500)} (line ${stacks?.at(-1)?.line ?? '?'})`;
};

/** One line that `.ci/run` repeats at its end, where a reader of a cut log finds it. */
const failure = (module: TestModule, name: string, errors: readonly unknown[] | undefined): string =>
  `FAILED: ${module.relativeModuleId}: ${name.replaceAll(/\s+/g, ' ')}: ${(errors ?? []).map(inOneLine).join('; ')}`;

/**
 * Counts tests for those who add the counts of several runners up, and says why a test was skipped and which have failed.
 * Writes `passed failed skipped` to the file that the environment's `WAYBILL_TALLY` names.
 */
export default class Tally implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, unhandledErrors.length, 0];
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') {
          passed += 1;
          const again = test.diagnostic()?.retryCount ?? 0;
          if (again > 0) console.log(`tried ${again + 1} times: ${module.relativeModuleId}: ${test.fullName}`);
        } else if (result.state === 'skipped') {
          skipped += 1;
          console.log(
            `skipped: ${result.note ?? 'switched off in the test'} (${module.relativeModuleId}: ${test.fullName})`,
          );
        } else {
          failedHere += 1;
          console.log(failure(module, test.fullName, result.errors));
        }
      }
      // A file that cannot be loaded, or whose hooks fail, has no test that failed.
      if (!module.ok() && failedHere === 0) {
        failedHere = 1;
        console.log(failure(module, 'the file itself or its hooks', module.errors()));
      }
      failed += failedHere;
    }
    for (const error of unhandledErrors) console.log(`FAILED: an error that belongs to no test: ${inOneLine(error)}`);
    const file = process.env['WAYBILL_TALLY'];
    if (file !== undefined) writeFileSync(file, `${passed} ${failed} ${skipped}\n`);
  }
}
