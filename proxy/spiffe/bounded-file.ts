import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** A file is larger than anything that belongs there. */
class OversizedFile extends Error {
  override readonly name = 'OversizedFile';

  constructor() {
    super('the file is too large');
  }
}

/** A pipe, socket, device or folder stands where a file belongs. */
class NoRegularFile extends Error {
  override readonly name = 'NoRegularFile';

  constructor() {
    super('this is no regular file');
  }
}

/**
 * Reads a whole regular file of at most this many bytes. Rejects with OversizedFile, NoRegularFile, or with the error of the
 * operating system.
 */
export async function readBounded(path: string, maxBytes: number): Promise<Buffer> {
  // A pipe without a writer would hold a thread of the pool for ever, and four of them every look-up of a name.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new NoRegularFile();
    // One byte more than allowed shows that there is more, whatever `stat` says of a file that grows.
    const buffer = Buffer.alloc(maxBytes + 1);
    let size = 0;
    while (size < buffer.length) {
      const { bytesRead } = await file.read(buffer, size, buffer.length - size);
      if (bytesRead === 0) return Buffer.from(buffer.subarray(0, size));
      size += bytesRead;
    }
    throw new OversizedFile();
  } finally {
    await file.close();
  }
}
