// Reads cases from standard input and prints what two versions of @vercel/oidc
// answer: the one that the test pins, and the one that the AWS credentials
// provider bundles. It must run in a folder that is not linked, so that nothing
// is asked over the network.
const fs = require('node:fs');
const { createRequire } = require('node:module');

const here = createRequire(process.argv[2] + '/');
const provider = createRequire(here.resolve('@vercel/oidc-aws-credentials-provider'));
const versions = [here('@vercel/oidc'), provider('@vercel/oidc')];

async function main() {
  const answers = [];
  for (const c of JSON.parse(fs.readFileSync(0, 'utf8'))) {
    globalThis[Symbol.for('@vercel/request-context')] = c.headers ? { get: () => ({ headers: c.headers }) } : undefined;
    for (const name of ['VERCEL_OIDC_TOKEN', 'VERCEL_OIDC_TOKEN_FILE']) {
      if (name in c.env) process.env[name] = c.env[name];
      else delete process.env[name];
    }
    const answer = [];
    for (const { getVercelOidcToken } of versions) {
      try {
        answer.push({ token: await getVercelOidcToken() });
      } catch (err) {
        answer.push({ error: String(err && err.message) });
      }
    }
    answers.push(answer);
  }
  process.stdout.write(JSON.stringify(answers));
}

main();
