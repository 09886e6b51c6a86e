/** An object of JSON whose members nobody has checked. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The value as an object; an empty one for anything else, so that a missing member is undefined and not a fault. */
export function asObject(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** The object that a text holds; undefined where it holds none. */
export function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? asObject(value) : undefined;
  } catch {
    return undefined;
  }
}
