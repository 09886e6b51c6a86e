/** How often a handle may still be used. To spend is one step: of two calls at a time the last use goes to one. */
export class UseCount {
  #left: number;

  constructor(uses: number) {
    this.#left = uses;
  }

  get isSpent(): boolean {
    return this.#left <= 0;
  }

  /** False where nothing is left. */
  spend(): boolean {
    if (this.isSpent) return false;
    this.#left -= 1;
    return true;
  }

  /** For a call that was refused behind this: it used nothing. */
  giveBack(): void {
    this.#left += 1;
  }
}
