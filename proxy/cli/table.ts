/** Rows of cells as aligned lines, without spaces at their ends. */
export function formatTable(rows: readonly (readonly string[])[]): readonly string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** What moves a cursor, turns the direction of writing or breaks a line. */
const speaksToTerminal = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

/** Text that others made (subjects, purposes), for a terminal or a page: with a mark of direction a name could look like another one. */
export function printable(value: unknown): string {
  return String(value).replaceAll(speaksToTerminal, '?');
}
