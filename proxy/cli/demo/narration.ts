import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** One line of a table of claims: name, value, and what it means. */
export type ClaimRow = readonly [name: string, value: string, meaning?: string];

/** Narrow enough for half a screen. */
const lineWidth = 96;

/** How the demo speaks: to people, in lines. With a silent printer it says nothing. */
export class Narration {
  #print: (line: string) => void;
  readonly #colour: boolean;

  constructor(print: (line: string) => void, colour: boolean) {
    this.#print = print;
    this.#colour = colour;
  }

  /** Says nothing from now on: steps that were under way at an interruption still fail, one after the other. */
  end(): void {
    this.#print = () => undefined;
  }

  /** The head of a part. */
  title(text: string): void {
    this.#print(`\n${this.#styled(['bold', 'cyan'], text)}`);
  }

  /** The head of a step: what is shown, and why it matters. */
  step(number: number, heading: string, text: string): void {
    this.#print(`\n${this.#styled('bold', `${number}  ${heading}`)}`);
    this.say(text);
  }

  /** One or two sentences. */
  say(text: string): void {
    for (const line of wrapped(text, lineWidth - 3)) this.#print(`   ${line}`);
  }

  /** Lines as they are, such as a drawing or a command. */
  show(...lines: readonly string[]): void {
    for (const line of lines) this.#print(`   ${this.#styled('cyan', line)}`.trimEnd());
  }

  /** Something was shown. */
  tick(text: string): void {
    this.#mark('green', '✔', text);
  }

  /** Something was not as it should be. */
  cross(text: string): void {
    this.#mark('red', '✘', text);
  }

  /** A table; the meaning is dimmed, the value is what counts. */
  claims(rows: readonly ClaimRow[]): void {
    const nameWidth = Math.max(...rows.map(([name]) => name.length));
    const valueWidth = Math.max(...rows.map(([, value]) => value.length));
    for (const [name, value, meaning = ''] of rows) {
      const line = `     ${this.#styled('dim', name.padEnd(nameWidth))}  ${value.padEnd(valueWidth)}`;
      this.#print(`${line}  ${this.#styled('dim', meaning)}`.trimEnd());
    }
  }

  /** The mark stands in the margin, so that all marks of a run can be seen at a glance. */
  #mark(style: Style, mark: string, text: string): void {
    const [first = '', ...rest] = wrapped(text, lineWidth - 5);
    /** validateStream: whether this is a terminal was decided by who made the printer. */
    this.#print(` ${this.#styled(style, mark)} ${first}`);
    for (const line of rest) this.#print(`   ${line}`);
  }

  #styled(style: Style, text: string): string {
    return this.#colour && text !== '' ? styleText(style, text, { validateStream: false }) : text;
  }
}

/** Breaks a text at its spaces. Words that are longer than a line stay whole: they are to be copied. */
function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
