// What npm's jose says of tokens, for tests/attacks/test_differential.py.
//
//   node jose_driver.mjs DIRECTORY     where `npm install jose` was run
//
// Standard input is JSON lines: the JWK Set and what is expected, then one token each. Prints true
// or false for each token.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const found = createRequire(resolve(process.argv[2], "any.js")).resolve("jose");
const { createLocalJWKSet, jwtVerify } = await import(pathToFileURL(found));

const lines = readFileSync(0, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
const [{ jwks, now, ...expected }, ...tokens] = lines;
const keys = createLocalJWKSet(jwks);
const options = { ...expected, currentDate: new Date(now * 1000) };
for (const token of tokens) {
  const verdict = await jwtVerify(token, keys, options).then(() => true, () => false);
  console.log(verdict);
}
