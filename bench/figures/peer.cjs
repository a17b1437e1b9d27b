// Has callers ask Vercel's JavaScript provider for credentials, and prints when
// each asked and how long it waited. Arguments: the folder of node_modules, STS's
// URL, the role, milliseconds, callers.
const { createRequire } = require("module");
const path = require("path");

const [folder, endpoint, roleArn, during, callers] = process.argv.slice(2);
const load = createRequire(path.join(path.resolve(folder), "peer.js"));
const { awsCredentialsProvider } = load("@vercel/oidc-aws-credentials-provider");
const identity = load("@smithy/core");

// What every client of the AWS SDK for JavaScript does with a provider.
const provider = identity.memoizeIdentityProvider(
  awsCredentialsProvider({ roleArn, clientConfig: { region: "us-east-1", endpoint } }),
  identity.isIdentityExpired,
  identity.doesIdentityRequireRefresh,
);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

(async () => {
  await provider();
  const began = performance.now();
  const samples = [];
  await Promise.all(
    Array.from({ length: Number(callers) }, async () => {
      while (performance.now() - began < Number(during)) {
        const start = performance.now();
        let failed = false;
        await provider().catch(() => (failed = true));
        samples.push({ at: start - began, wait: performance.now() - start, failed });
        await sleep(10);
      }
    }),
  );
  process.stdout.write(JSON.stringify(samples));
})();
