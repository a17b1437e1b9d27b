// Has npm's jose judge the tokens that stand on standard input, and prints "good"
// or the error's code for each. The arguments are the folder in whose node_modules
// jose is, and the key set, the issuer and the audience.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [, , packages, keySet, issuer, audience] = process.argv;
const at = createRequire(packages + '/').resolve('jose');
const { createLocalJWKSet, jwtVerify } = await import(pathToFileURL(at));

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const keys = createLocalJWKSet(JSON.parse(keySet));
const options = { issuer, audience, algorithms: ['RS256'], requiredClaims: ['exp', 'sub'] };
const answers = [];
for (const token of JSON.parse(Buffer.concat(chunks))) {
  try {
    await jwtVerify(token, keys, options);
    answers.push('good');
  } catch (e) {
    answers.push(e.code ?? e.name);
  }
}
console.log(JSON.stringify(answers));
