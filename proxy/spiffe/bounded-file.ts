import { open } from 'node:fs/promises';

/** A file is larger than anything that belongs there. */
class OversizedFile extends Error {
  override readonly name = 'OversizedFile';

  constructor() {
    super('the file is too large');
  }
}

/** Reads a whole file of at most this many bytes. Rejects with OversizedFile, or with the error of the operating system. */
export async function readBounded(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    // One byte more than allowed shows that there is more, whatever `stat` says of a file that grows or of a device.
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
