import { readFileSync } from 'node:fs';

/** The text of a file that the configuration names. Throws what the system says of it, which names the file; of a folder it does not. */
export function readNamed(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EISDIR')
      throw new Error(`${file} is a folder`, { cause: error });
    throw error;
  }
}
