import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/**
 * Counts tests for those who add the counts of several runners up, and says why a test was skipped.
 * Writes `passed failed skipped` to the file that the environment's `WAYBILL_TALLY` names.
 */
export default class Tally implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let [passed, failed, skipped] = [0, unhandledErrors.length, 0];
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'skipped') {
          skipped += 1;
          console.log(
            `skipped: ${result.note ?? 'switched off in the test'} (${module.relativeModuleId}: ${test.fullName})`,
          );
        } else failedHere += 1;
      }
      // A file that cannot be loaded, or whose hooks fail, has no test that failed.
      if (!module.ok() && failedHere === 0) failedHere = 1;
      failed += failedHere;
    }
    const file = process.env['WAYBILL_TALLY'];
    if (file !== undefined) writeFileSync(file, `${passed} ${failed} ${skipped}\n`);
  }
}
