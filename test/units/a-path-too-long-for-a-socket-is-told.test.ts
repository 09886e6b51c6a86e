import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openOperatorSocket } from '../../proxy/steward/operator-listener.ts';
import type { OperatorRooms } from '../../proxy/steward/operator-api.ts';

test('a default below a long folder, which no check of the file sees, is told as what it is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-socket-'));
  try {
    // No request comes: nothing listens.
    const opened = openOperatorSocket(join(folder, 'r'.repeat(100), 'operator.sock'), {} as OperatorRooms);
    // Without a code, as all that a start tells people and exits with 64.
    const error: unknown = await opened.catch((fault: unknown) => fault);
    expect(error).toEqual(
      new Error(`${folder}/${'r'.repeat(100)}/operator.sock is too long for a socket; name a shorter operator.socket`),
    );
    expect(error).not.toHaveProperty('code');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
