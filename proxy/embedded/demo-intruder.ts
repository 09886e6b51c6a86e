/**
 * What an attacker runs who talked the agent out of a handle: a call to another tool, with the handle as its credential. Usage:
 * `demo-intruder URL`, the handle in the environment's `STOLEN_HANDLE`. Prints what it got as one line of JSON.
 */
const url = process.argv[2] ?? '';
const handle = process.env['STOLEN_HANDLE'] ?? '';

const answer = await fetch(url, { headers: { authorization: `Bearer ${handle}` } });
process.stdout.write(`${JSON.stringify({ status: answer.status, body: await answer.json() })}\n`);
