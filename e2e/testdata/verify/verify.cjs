// Runs @vercel/oidc's verifyVercelOidcToken on each case that stands on
// standard input, with the key set on loopback in place of Vercel's, and prints
// the results. A case is {token, options, env}; a result is what the caller of
// the function gets: "good", the error's code, or "TypeError".
const http = require('node:http');
const https = require('node:https');

const [, , packages, keySet] = process.argv;
https.get = (url, options) => {
  if (url !== 'https://oidc.vercel.com/.well-known/jwks') throw new Error('unexpected request: ' + url);
  return http.get(keySet, { headers: options.headers, timeout: options.timeout });
};
const { verifyVercelOidcToken } = require(require.resolve('@vercel/oidc', { paths: [packages] }));

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const results = [];
  for (const { token, options, env } of JSON.parse(Buffer.concat(chunks))) {
    for (const name of ['VERCEL_PROJECT_ID', 'VERCEL_ENV', 'VERCEL_TARGET_ENV']) delete process.env[name];
    Object.assign(process.env, env);
    try {
      await verifyVercelOidcToken(token, options ?? undefined);
      results.push('good');
    } catch (e) {
      // One code for the issuer and for what is not allowed.
      results.push((e.code ?? e.name) + (/ iss claim /.test(e.message) ? ' iss' : ''));
    }
  }
  console.log(JSON.stringify(results));
}

main();
