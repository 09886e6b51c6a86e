/** No honest workload is registered anew so often while it runs. */
const maxIds = 64;

/**
 * The names of the agent beside us: that of the configuration, and each SPIFFE ID that this process has had. Whoever revokes it names the
 * one that he knows, and it may be lost or another by then: its tasks were opened under that name all the same.
 */
export class OwnNames {
  readonly #name: string;
  /** The latest last. */
  readonly #ids = new Set<string>();

  /** @param name of the configuration. */
  constructor(name: string) {
    this.#name = name;
  }

  /** @param spiffeId of now, or empty. */
  add(spiffeId: string): void {
    if (spiffeId === '') return;
    this.#ids.delete(spiffeId);
    this.#ids.add(spiffeId);
    const [oldest] = this.#ids;
    if (this.#ids.size > maxIds && oldest !== undefined) this.#ids.delete(oldest);
  }

  list(): readonly string[] {
    return [this.#name, ...this.#ids];
  }
}
